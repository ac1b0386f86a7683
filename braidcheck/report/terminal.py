"""A Run on the terminal: failures first, each with its numbers and message, then passes, skips, and where the files
are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from braidcheck.report.failure_pages import explained_in
from braidcheck.report.failures import Failure, failures, suspects
from braidcheck.report.formats import files_line
from braidcheck.report.rows import MAX_NAMES, Row, limit_fraction, rows, skipped, summary_line
from braidcheck.result import Run, Status

STYLES = {Status.FAIL: "bold red", Status.ERROR: "red", Status.INCONCLUSIVE: "yellow", Status.SKIPPED: "dim"}
MAX_FAILURES = 20  # failures listed here; summary.md has all
PIPE_WIDTH = 140


def console() -> Console:
    """Standard output; a pipe gets unstyled lines of a fixed width."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(run: Run, out: Path | None = None, interrupted: bool = False) -> None:
    """Print ``run``; ``out`` is the folder of its files, if any were written."""
    screen, failed = console(), failures(run)
    if failed or run.missing:
        _failures(run, failed, screen)
        for line in _passed(run):
            screen.print(Text(line, style="green"), soft_wrap=True)
    elif run.verdicts:
        screen.print(_table(rows(run)))
    for group in skipped(run):
        screen.print(Text(f"skipped: {group.names}: {group.first.message}", style="dim"), soft_wrap=True)
    if out is not None:
        screen.print(Text(files_line(out)), soft_wrap=True)
    if pages := explained_in(failed):
        screen.print(Text(f"causes and remedies, in braidcheck's repository: {', '.join(pages)}"), soft_wrap=True)
    if blamed := suspects(failed):
        line = "; ".join(f"{op} ({', '.join(gates)})" for op, gates in blamed.items())
        screen.print(Text(f"suspect ops: {line}", style="bold red"), soft_wrap=True)
    screen.print(Text(summary_line(run, interrupted), style="bold"))


def _failures(run: Run, failed: list[Failure], screen: Console) -> None:
    """One line of facts per failure, the worst first, and its message below."""
    for one in failed[:MAX_FAILURES]:
        status = one.first.status
        line = Text.assemble((str(status), STYLES[status]), f" {one.first.gate} ", (one.names, "bold"))
        for fact in _facts(one):
            line.append(f" | {fact}")
        command = one.first.reproduce
        # A pipe has no width: there facts and command are one line, for grep.
        apart = screen.is_terminal and len(line) + len(command) + 3 > screen.width
        if command and not apart:
            line.append(f" | {command}", style="cyan")
        screen.print(line, soft_wrap=True)
        if command and apart:
            screen.print(Text(f"    {command}", style="cyan"), soft_wrap=True)
        message = " ".join(one.first.message.split())  # never at a line's start, where a CI reads commands
        if screen.is_terminal:
            screen.print(Padding(Text(message), (0, 0, 0, 4)))
        else:
            screen.print(Text(f"    {message}"), soft_wrap=True)
        if trace := one.first.metrics.get("traceback"):
            screen.print(Text(f"    {trace}", style="dim"), soft_wrap=True)
    if len(failed) > MAX_FAILURES:
        screen.print(f"and {len(failed) - MAX_FAILURES} more")
    if run.missing:
        screen.print(Text(f"no verdict: {', '.join(run.missing[:4])}{' ...' * (len(run.missing) > 4)}", style="red"))


def _facts(one: Failure) -> Iterator[str]:
    """Number and limit, headroom, number of cases, suspect ops, as far as known."""
    if one.reading:
        yield one.reading
    if one.headroom:
        yield f"headroom {one.headroom}"
    if one.count:
        yield f"{one.count} cases"
    if blamed := str(one.blame):
        yield f"suspect ops: {blamed}"


def _passed(run: Run) -> Iterator[str]:
    """One line per gate, with the row nearest to its limit."""
    by_gate: dict[str, list[Row]] = {}
    for row in rows(run):
        if row.status == Status.PASS:
            by_gate.setdefault(row.gate, []).append(row)
    for gate, passed in by_gate.items():
        measured = [(row.worst, row) for row in passed if row.worst is not None]
        _, nearest = max(measured, key=lambda pair: limit_fraction(pair[0]), default=(None, None))
        more = f" and {len(passed) - MAX_NAMES} more" if len(passed) > MAX_NAMES else ""
        tail = f", least headroom {nearest.headroom} ({nearest.subject})" if nearest else ""
        yield f"pass {gate}: {', '.join(row.subject for row in passed[:MAX_NAMES])}{more}{tail}"


def _table(made: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("gate", "subject", "verdict"):
        table.add_column(title, no_wrap=True)
    for title in ("evaluated", "worst", "limit"):
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
