"""The result of a project's tests on faults in its kernels: scores, and each survivor with its line and diff."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck.mutants.project.run import CAUGHT, KILLED, NO_COVERAGE, SURVIVED, TIMEOUT, score
from braidcheck.report.terminal import console

OUTCOMES = (KILLED, TIMEOUT, SURVIVED, NO_COVERAGE)
ALIVE = (SURVIVED, NO_COVERAGE)
COLUMNS = {"family": "family", "operator": "operator", "function": "function"}
STYLES = {SURVIVED: "yellow", NO_COVERAGE: "dim"}


def show(result: Mapping[str, Any], saved: Path | None = None) -> None:
    """Print the result; ``saved`` is the file that holds it."""
    screen, rows = console(), result["mutants"]
    for column in COLUMNS:
        screen.print(_table(rows, column))
    for row in rows:
        if row["outcome"] in ALIVE:
            head = f" {row['file']}:{row['line']} {row['id']}; witness: {row['witness']}"
            screen.print(Text.assemble((row["outcome"], STYLES[row["outcome"]]), head), soft_wrap=True)
            for line in row["diff"] if row["outcome"] == SURVIVED else ():
                screen.print(Text(f"    {line}", style="red" if line.startswith("-") else "green"), soft_wrap=True)
    screen.print(Text(summary(result), style="bold"), soft_wrap=True)
    if saved:
        screen.print(f"saved: {saved}; for an HTML report: braidcheck report {saved} -o mutants.html", soft_wrap=True)


def summary(result: Mapping[str, Any]) -> str:
    """The score of the tests in one line."""
    rows = result["mutants"]
    caught, total = score(rows)
    covered = sum(row["outcome"] != NO_COVERAGE for row in rows)
    drawn = f", drawn from {result['generated']} with --seed {result['seed']}" if total < result["generated"] else ""
    return (
        f"{result['test']!r} caught {caught} of {total} mutants ({_percent(caught, total)}), "
        f"{_percent(caught, covered)} of those in functions that it runs{drawn}; "
        f"{result['lane']} lane, {result['seconds']:.0f} s"
    )


def counts(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """For each family, operator or function its name, score, and mutants by outcome; the total last."""
    counted = []
    for name in [*sorted({row[column] for row in rows}), "all"]:
        own = [row for row in rows if name in (row[column], "all")]
        how = Counter(row["outcome"] for row in own)
        caught = sum(how[outcome] for outcome in CAUGHT)
        counted.append((name, _percent(caught, len(own)), tuple(how[outcome] for outcome in OUTCOMES)))
    return counted


def render(result: Mapping[str, Any]) -> str:
    """The result as one self-contained HTML page."""
    from markupsafe import Markup

    from braidcheck.report.page import FOLDER, templates

    return (
        templates()
        .get_template("project_mutants.html")
        .render(
            result=result,
            summary=summary(result),
            outcomes=OUTCOMES,
            tables=[(column, counts(result["mutants"], column)) for column in COLUMNS],
            alive=[(outcome, [row for row in result["mutants"] if row["outcome"] == outcome]) for outcome in ALIVE],
            style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        )
    )


def _table(rows: Sequence[Mapping[str, Any]], column: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(column, no_wrap=True)
    for title in ("score", *OUTCOMES):
        table.add_column(title, justify="right", no_wrap=True)
    for name, share, numbers in counts(rows, column):
        table.add_row(name, share, *(str(number or "") for number in numbers))
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "-"
