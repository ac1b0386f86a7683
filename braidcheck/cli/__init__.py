"""The command line: parses arguments, reports mistakes in one line, and sets the exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from braidcheck.cli.ops_option import with_ops
from braidcheck.config import COMMANDS as READING_TABLE
from braidcheck.errors import NotAvailable, UserError

INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Packages that only some commands import, and the extra that installs each.
EXTRAS = {"bokeh": "report", "jinja2": "report", "ruptures": "report", "datasets": "golden", "scipy": "gpu"}
# Typer bundles its own click from 0.26 on; in both cases this is click's usage error.
WrongCall = typer.BadParameter.__mro__[2]


class Command(NamedTuple):
    """A command: its line in the help, and its function or group as ``module:name`` below this package."""

    summary: str
    place: str
    panel: str | None = None
    takes_ops: bool = False
    epilog: str = ""
    settings: dict[str, Any] | None = None  # of its click context


CI, DEV = "Continuous integration", "Development of gates and kernels"
COMMANDS = {
    "gate": Command(
        "Run all gates on ops and a model, or on your own engine.",
        "gate:gate",
        takes_ops=True,
        epilog="overview:gates_by_name",
    ),
    "check": Command("Check your own function as an op: numbers, memory, layouts.", "check:check", takes_ops=True),
    "list": Command("List the ops, or show one: signature, contract, cases.", "overview:list_ops", takes_ops=True),
    "doctor": Command("Show what is installed and which gates can run here.", "overview:doctor"),
    "demo": Command("Plant a well-known bug in a copy and show it caught.", "demo:demo"),
    "init": Command("Set up this repository: settings, a first op, a workflow.", "init:init"),
    "config": Command(
        "Show each setting and where it comes from.",
        "config:config",
        settings={"allow_interspersed_args": False},
    ),
    "report": Command("Render a Run as HTML, Markdown, JUnit, SARIF or a badge.", "report:report", takes_ops=True),
    "bench": Command("Benchmark kernels, decode and prefill on this machine's GPU.", "bench:app"),
    "golden": Command("Record goldens with HF transformers; verify and compare them.", "golden:app"),
    "new": Command("Write a working skeleton: new op NAME.", "new:app"),
    "protect": Command("Check a pull request against the base's bounds, cases and goldens.", "protect:protect", CI),
    "merge": Command("Merge the Runs of all shards into one.", "merge:merge", CI),
    "trend": Command("Detect lasting shifts in timings and rates.", "trend:trend", CI),
    "history": Command("Store Runs in a folder, one immutable file each.", "history:app", CI),
    "mutants": Command("Plant faults one at a time: which gate catches each?", "mutants:mutants", DEV, takes_ops=True),
    "soak": Command("Run kernels and equivalents on fresh inputs: any near a bound?", "soak:soak", DEV, takes_ops=True),
    "soak-models": Command("Run whole models of equivalents: any false alarm?", "soak_models:soak_models", DEV),
    "sensitivity": Command(
        "Find the smallest fault that each gate detects.", "sensitivity:sensitivity", DEV, takes_ops=True
    ),
    "static": Command("Compile every kernel: registers, spills, shared memory.", "static:static", DEV, takes_ops=True),
}


@functools.cache
def load(name: str) -> Any:
    """The click command or group of this name; imports its module."""
    command = COMMANDS[name]
    loaded = _find(command.place)
    if isinstance(loaded, typer.Typer):
        return typer.main.get_command(loaded)
    alone = typer.Typer(add_completion=False)
    epilog = _find(command.epilog)() if command.epilog else None
    register = alone.command(name, epilog=epilog, context_settings=command.settings)
    register(with_ops(loaded) if command.takes_ops else loaded)
    return typer.main.get_command(alone)


def _find(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(f"{__name__}.{module}"), name)


class Commands(TyperGroup):
    """Lists the commands without importing them, which would take too long."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is called, with its options. Raises click's usage error if there is none."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises Abort if it is interrupted: Typer itself prints nothing then."""
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
for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.summary, rich_help_panel=_command.panel)(lambda: None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 pass, 1 failed, 2 usage, 3 error, inconclusive or nothing
    evaluated, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    try:
        reads_table = words and words[0] in READING_TABLE and not {"-h", "--help"} & set(words)
        kept = _find("config:defaults")() if reads_table else {}
        code = app(args=words or ["--help"], prog_name="braidcheck", standalone_mode=False, default_map=kept) or 0
        sys.stdout.flush()  # while a full disk can still be reported
        return code
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _leave_stdout()
        where = f" {error.filename}" if error.filename else ""
        message = f"cannot write{where}: {error.strerror}; free some room, or write elsewhere"
        print(f"braidcheck: {message}", file=sys.stderr)
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
        said = error.format_message().rstrip(".")
        print(f"braidcheck: {said}{'' if said.endswith('?') else '.'} See: {help_command}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("braidcheck: interrupted", file=sys.stderr)
        return INTERRUPTED


def _open_closed_streams() -> None:
    """Replace a closed standard stream, or the first opened file would get its descriptor."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it stays open


def _leave_stdout() -> None:
    """Stop Python from flushing stdout again at exit: a second failure would change the exit code."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
