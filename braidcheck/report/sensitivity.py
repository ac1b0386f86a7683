"""The smallest fault that each gate sees, on the terminal: a table a gate, a row an op, a column a kind of fault."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from braidcheck.report.terminal import console


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what ``evidence.sensitivity`` measured."""
    screen = console()
    for gate in dict.fromkeys(row["gate"] for row in rows):
        of_gate = [row for row in rows if row["gate"] == gate]
        faults = list(dict.fromkeys(row["fault"] for row in of_gate))
        table = Table("op", "on", title=gate, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for fault in faults:
            table.add_column(fault, justify="right")
        for op, on in dict.fromkeys((row["op"], _where(row)) for row in of_gate):
            cells = {row["fault"]: said(row) for row in of_gate if (row["op"], _where(row)) == (op, on)}
            table.add_row(op, on, *(cells.get(fault, "") for fault in faults))
        screen.print(table)
    trials = max((row["trials"] for row in rows), default=0)
    screen.print(
        f"the smallest fault, of powers of two, seen in at least 95% of {trials} seeded trials: relative to the number "
        "that it changes; for one position, in tokens",
        soft_wrap=True,
    )


def said(row: Mapping[str, Any]) -> str:
    """The size in words: "2^-9", "<= 2^-32" where none smaller was tried, or up to where the fault was not seen.

    Positions are whole: "1", of which there is nothing less.
    """
    whole = row["fault"] == "one position"
    size, largest = (
        value if value is None else f"{value:g}" if whole else f"2^{round(math.log2(value))}"
        for value in (row["smallest"], row["largest"])
    )
    if size is None:
        return f"not seen up to {largest}"
    return f"<= {size}" if row["smallest"] == row["least"] and not whole else size


def _where(row: Mapping[str, Any]) -> str:
    return row["on"].partition(",")[0]
