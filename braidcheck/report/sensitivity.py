"""The smallest fault that each gate detects, on the terminal: one table per gate, one row per op, one column per kind
of fault."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from braidcheck.report.terminal import console

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """The sensitivity of one gate: ``rows`` have an op, what it was tried on, and the size as text for each of
    ``faults``."""

    gate: str
    faults: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


def tables(rows: Rows) -> Iterator[Sizes]:
    """One table per gate from sensitivity rows."""
    for gate in dict.fromkeys(row["gate"] for row in rows):
        of_gate = [row for row in rows if row["gate"] == gate]
        faults = tuple(dict.fromkeys(row["fault"] for row in of_gate))
        made = []
        for op, on in dict.fromkeys((row["op"], _where(row)) for row in of_gate):
            cells = {row["fault"]: format_size(row) for row in of_gate if (row["op"], _where(row)) == (op, on)}
            made.append((op, on, tuple(cells.get(fault, "") for fault in faults)))
        yield Sizes(gate, faults, tuple(made))


def explanation(rows: Rows) -> str:
    """The meaning of the sizes."""
    trials = max((row["trials"] for row in rows), default=0)
    return (
        f"the smallest fault, of powers of two, seen in at least 95% of {trials} seeded trials: relative to the number "
        "that it changes; for one position, in tokens"
    )


def show(rows: Rows) -> None:
    """Print sensitivity rows."""
    screen = console()
    for sizes in tables(rows):
        table = Table("op", "on", title=sizes.gate, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for fault in sizes.faults:
            table.add_column(fault, justify="right")
        for op, on, cells in sizes.rows:
            table.add_row(op, on, *cells)
        screen.print(table)
    screen.print(explanation(rows), soft_wrap=True)


def format_size(row: Mapping[str, Any]) -> str:
    """The size in words: "2^-9", "<= 2^-32" where none smaller was tried, or up to where the fault was not seen.

    Positions are whole: "1", of which there is nothing less.
    """
    whole = row["fault"] == "one position"
    size, largest = (
        value if value is None else f"{value:g}" if whole else f"2^{round(math.log2(value))}"
        for value in (row["smallest"], row["largest"])
    )
    if size is None:
        return f"not detected up to {largest}"
    return f"<= {size}" if row["smallest"] == row["least"] and not whole else size


def _where(row: Mapping[str, Any]) -> str:
    return row["on"].partition(",")[0]
