"""``braidcheck history``: stores Runs, lists them, merges histories, imports numbers from elsewhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck import checksum
from braidcheck.ci import history
from braidcheck.errors import UserError
from braidcheck.report.terminal import console

app = typer.Typer(help="Store Runs in a folder, one immutable file each.", no_args_is_help=False, add_completion=False)

To = Annotated[Path, typer.Option("--to", help="the history's folder")]


@app.command()
def add(run: Annotated[Path, typer.Argument(help="a run.json of a gate run")], to: To = history.FOLDER) -> int:
    """Add a Run to a history."""
    added = history.add(run, to)
    if not checksum.is_sealed(added.read_text(encoding="utf-8")):
        print(f"{run} has no checksum: damage to it may go unnoticed", file=sys.stderr)
    print(added)
    return 0


@app.command("list")
def list_runs(folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="a history")] = history.FOLDER) -> int:
    """List the Runs of a history, oldest first."""
    entries = history.read(folder)
    made = Table("time", "commit", "status", "verdicts", "machine", "file", box=box.SIMPLE_HEAD, pad_edge=False)
    for entry in entries:
        seen, run = entry.run.environment, entry.run
        commit = str(seen.get("commit") or "")[:12]
        cells = (seen["started"], commit, str(run.status), str(len(run.verdicts)), history.hardware(seen))
        made.add_row(*map(Text, (*cells, entry.path.name)))
    if entries:
        console().print(made)
    print(f"{len(entries)} Runs in {folder}")
    return 0


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="histories")],
    to: Annotated[Path, typer.Option("--to", help="folder to merge into")],
) -> int:
    """Merge histories; Runs that are there already are not copied again."""
    print(f"{len(history.merge(folders, to))} Runs copied to {to}")
    return 0


@app.command()
def age(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="a history")] = history.FOLDER,
    most: Annotated[float, typer.Option(min=0, help="maximum age in hours")] = 26.0,
) -> int:
    """Show how old the newest Run of a history is. Exit code 1 if it is older than allowed, or if there is none."""
    hours = history.age(folder, datetime.now(UTC))
    if hours is None:
        print(f"there is no Run in {folder}")
        return 1
    print(f"the newest Run is {hours:.1f} hours old; {most:g} are allowed")
    # A Run from the future means that a clock is wrong, and would hide every missed run until then.
    return 0 if -1 <= hours <= most else 1


@app.command("import")
def import_csv(
    file: Annotated[Path, typer.Argument(help="a CSV with columns time,series,value[,control]")],
    to: Annotated[Path, typer.Option("--to", help="the history's folder")],
    hardware: Annotated[str, typer.Option(help="the machine; default: the file's name without suffix")] = "",
) -> int:
    """Import the nightly runs of a CSV into a history, one Run each."""
    from braidcheck.ci.trend import table

    runs = table.read(file, hardware)
    if not runs:
        raise UserError(f"{file} has no rows")
    history.store({history.name(run): run.to_json() for run in runs}, to)
    print(f"{len(runs)} Runs imported to {to}")
    return 0
