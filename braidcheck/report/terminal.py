"""A Run on the terminal: table, failures, what was not judged, where the files are."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from braidcheck.report.rows import Row, bad, closing, not_judged, rows
from braidcheck.results import Run, Status

STYLES = {Status.FAIL: "bold red", Status.ERROR: "red", Status.INCONCLUSIVE: "yellow", Status.NOT_JUDGED: "dim"}
MOST = 20  # failures said here; summary.md has all
PIPE_WIDTH = 140


def console() -> Console:
    """Standard output; a pipe gets plain lines of a fixed width."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(run: Run, out: Path | None = None, interrupted: bool = False) -> None:
    """Print ``run``; ``out`` is the folder of its files, if any were written."""
    screen = console()
    if run.verdicts:
        screen.print(_table(rows(run)))
    _failures(run, screen)
    for group in not_judged(run):
        screen.print(Text(f"not judged: {group.names}: {group.first.sentence}", style="dim"), soft_wrap=True)
    if run.missing:
        screen.print(Text(f"no verdict: {', '.join(run.missing[:4])}{' ...' * (len(run.missing) > 4)}", style="red"))
    if out is not None:
        screen.print(Text(f"files: {out / 'run.json'}, {out / 'summary.md'}, {out / 'junit.xml'}"), soft_wrap=True)
    screen.print(Text(closing(run, interrupted), style="bold"))


def _failures(run: Run, screen: Console) -> None:
    """One sentence a failure, and the command that runs just that."""
    found = bad(run)
    for group in found[:MOST]:
        verdict = group.first
        screen.print(
            Text.assemble((str(verdict.status), STYLES[verdict.status]), f" {group.names}: {verdict.sentence}"),
            soft_wrap=True,
        )
        for hint in (verdict.reproduce, verdict.numbers.get("traceback")):
            if hint:
                screen.print(Text(f"    {hint}", style="dim"), soft_wrap=True)
    if len(found) > MOST:
        screen.print(f"and {len(found) - MOST} more")


def _table(made: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("gate", "subject", "verdict"):
        table.add_column(title, no_wrap=True)
    for title in ("judged", "worst", "limit"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit", overflow="fold")
    for title in ("headroom", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in made:
        status = Text(str(row.status), style=STYLES.get(row.status, "green"))
        table.add_row(
            row.gate, row.subject, status, row.count, *row.reading, row.headroom, f"{row.seconds:.1f} s"
        )  # fmt: skip
    return table
