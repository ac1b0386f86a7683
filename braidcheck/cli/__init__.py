"""The command line: it chooses arguments, says mistakes in one line, and gives the exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from braidcheck.cli import (
    bench,
    check,
    config,
    demo,
    gate,
    golden,
    history,
    init,
    merge,
    mutants,
    new,
    overview,
    protect,
    report,
    sensitivity,
    soak,
    soak_models,
    static,
    trend,
)
from braidcheck.cli.ops_option import with_ops
from braidcheck.config import COMMANDS
from braidcheck.errors import NotAvailable, UserError

INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
CI, DEV = "Continuous integration", "Development of gates and kernels"
# What only some commands import, and the extra that installs it.
EXTRAS = {"bokeh": "report", "jinja2": "report", "ruptures": "report", "datasets": "golden", "scipy": "gpu"}
# Typer carries its own copy of click from 0.26 on; either way this is click's "the call is wrong".
WrongCall = typer.BadParameter.__mro__[2]


class Commands(TyperGroup):
    """All commands. Typer itself says nothing where one is interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises Abort where it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    cls=Commands,
    help="Gates changes to an LLM's kernels: same numbers, same model, no slower?",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("gate", epilog=overview.gates_by_name())(with_ops(gate.gate))
app.command("check")(with_ops(check.check))
app.command("list")(with_ops(overview.list_ops))
app.command("doctor")(overview.doctor)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("config", context_settings={"allow_interspersed_args": False})(config.config)
app.command("report")(with_ops(report.report))
for name, command in {"protect": protect.protect, "merge": merge.merge, "trend": trend.trend}.items():
    app.command(name, rich_help_panel=CI)(command)
for name, command in {
    "mutants": with_ops(mutants.mutants),
    "soak": with_ops(soak.soak),
    "soak-models": soak_models.soak_models,
    "sensitivity": with_ops(sensitivity.sensitivity),
    "static": with_ops(static.static),
}.items():
    app.command(name, rich_help_panel=DEV)(command)
app.add_typer(bench.app, name="bench")
app.add_typer(golden.app, name="golden")
app.add_typer(new.app, name="new")
app.add_typer(history.app, name="history", rich_help_panel=CI)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 pass, 1 failed, 2 usage, 3 error, inconclusive or nothing
    evaluated, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    try:
        reads_table = words and words[0] in COMMANDS and not {"-h", "--help"} & set(words)
        kept = config.defaults() if reads_table else {}
        code = app(args=words or ["--help"], prog_name="braidcheck", standalone_mode=False, default_map=kept) or 0
        sys.stdout.flush()  # while a full disk can still be told
        return code
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _leave_stdout()
        where = f" {error.filename}" if error.filename else ""
        said = f"cannot write{where}: {error.strerror}; free some room, or write elsewhere"
        print(f"braidcheck: {said}", file=sys.stderr)
        return NotAvailable.exit_code
    except UserError as error:
        print(f"braidcheck: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        print(f"braidcheck: {package} is not installed; pip install 'braidcheck[{EXTRAS[package]}]'", file=sys.stderr)
        return 2
    except WrongCall as error:
        context = getattr(error, "ctx", None)
        help_command = f"{context.command_path} --help" if context else "braidcheck --help"
        print(f"braidcheck: {error.format_message().rstrip('.')}. See: {help_command}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("braidcheck: interrupted", file=sys.stderr)
        return INTERRUPTED


def _open_closed_streams() -> None:
    """Whoever closes a stream wants to see nothing of it; the first file opened here must not take its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it stays open


def _leave_stdout() -> None:
    """What could not be written must not be tried again when Python ends: its exit code would be another."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
