"""The command line: it chooses arguments, says mistakes in one line, and gives the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from braidcheck.cli import (
    bench,
    check,
    gate,
    golden,
    history,
    merge,
    mutants,
    overview,
    protect,
    report,
    sensitivity,
    soak,
    soak_models,
    static,
    trend,
)
from braidcheck.errors import UserError

INTERRUPTED = 130
# Typer carries its own copy of click from 0.26 on; either way this is click's "the call is wrong".
WrongCall = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Gates changes to an LLM's kernels: same numbers, same model, no slower?",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("gate", epilog=overview.gates_by_name())(gate.gate)
app.command("merge")(merge.merge)
app.command("protect")(protect.protect)
app.command("list")(overview.list_ops)
app.command("check")(check.check)
app.command("soak")(soak.soak)
app.command("soak-models")(soak_models.soak_models)
app.command("mutants")(mutants.mutants)
app.command("sensitivity")(sensitivity.sensitivity)
app.command("static")(static.static)
app.add_typer(bench.app, name="bench")
app.add_typer(golden.app, name="golden")
app.add_typer(history.app, name="history")
app.command("trend")(trend.trend)
app.command("report")(report.report)
app.command("doctor")(overview.doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 pass, 1 failed, 2 usage, 3 could not judge, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return app(args=words or ["--help"], prog_name="braidcheck", standalone_mode=False) or 0
    except UserError as error:
        print(f"braidcheck: {error}", file=sys.stderr)
        return error.exit_code
    except WrongCall as error:
        context = getattr(error, "ctx", None)
        asked = f"{context.command_path} --help" if context else "braidcheck --help"
        print(f"braidcheck: {error.format_message().rstrip('.')}. See: {asked}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("braidcheck: interrupted", file=sys.stderr)
        return INTERRUPTED
