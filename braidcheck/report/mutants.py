"""A kill matrix on the terminal: the score of each part, which gate caught how many, and the survivors by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck.gates.mutants import CAUGHT, score
from braidcheck.mutants.mutant import FAMILIES
from braidcheck.report.terminal import console
from braidcheck.result import Status, Verdict

KINDS = ("named", "generated")
STYLES = {Status.PASS: "green", Status.FAIL: "bold red", Status.ERROR: "red"}


def show(matrix: Mapping[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Print ``matrix`` and the gate's verdicts on it."""
    rows, screen = [row for row in matrix["mutants"] if row["kind"] in KINDS], console()
    screen.print(_table(rows))
    screen.print(_families(rows))
    for row in rows if not matrix.get("blame") else []:
        if row["outcome"] == "survived" and not row.get("equivalent"):
            message = f"{row['id']}: {row['description']}; witness: {row.get('witness') or 'not sought'}"
            screen.print(Text.assemble(("survived ", "yellow"), message), soft_wrap=True)
    for verdict in verdicts:
        line = f"{verdict.subject}: {verdict.message}"
        screen.print(Text.assemble((f"{verdict.status} ", STYLES[verdict.status]), line), soft_wrap=True)
    screen.print(Text(f"{len(rows)} mutants on the {matrix['lane']} lane in {matrix['seconds']:.0f} s", style="bold"))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    gates = list(dict.fromkeys(row["gate"] for row in rows if row["outcome"] in CAUGHT))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    for title in (*KINDS, *gates, "crash", "timeout", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    parts = dict.fromkeys(row["part"] for row in rows)
    for part in (*parts, "all"):
        of_part = [row for row in rows if part in (row["part"], "all")]
        first = Counter(row["gate"] for row in of_part if row["outcome"] in CAUGHT)
        how = Counter(row["outcome"] for row in of_part)
        scores = [_said(score(row for row in of_part if row["kind"] == kind)) for kind in KINDS]
        counts = [str(first[gate] or "") for gate in gates] + [str(how[kind] or "") for kind in ("crash", "timeout")]
        table.add_row(part, *scores, *counts, f"{sum(row['seconds'] for row in of_part):.0f} s")
    return table


def _families(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("family", *KINDS):
        table.add_column(title, justify="left" if title == "family" else "right", no_wrap=True)
    for family in [*FAMILIES, ""]:
        of_family = [row for row in rows if row.get("family", "") == family]
        if of_family:
            scores = [_said(score(row for row in of_family if row["kind"] == kind)) for kind in KINDS]
            table.add_row(family or "not said", *scores)
    return table


def _said(counted: tuple[int, int]) -> str:
    caught, total = counted
    return f"{caught}/{total}" if total else ""
