"""The page of planted bugs, and which gates caught them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from braidcheck.cli.mutants import read_matrix
from braidcheck.mutants.mutant import Mutant
from tools.site.markdown import table

MATRIX = Path(__file__).parents[2] / "docs" / "results" / "kill-matrix-named-cpu.json"
MAX_CHARACTERS = 120  # of a message
HEAD = """# Planted bugs

Bugs known from engines and kernels, by the part that they belong to. Each is planted here, in a kernel, a wrapper or
the model around them, and the gates are asked ([mutation testing](../mutation-testing.md)). The gate is the one that
caught it first on a CPU, on {date}; `-` stands for a fault that none caught there, or that was planted later.
"""


def page(faults: Iterable[Mutant]) -> str:
    """The faults that come from a public bug, a table for each part."""
    matrix = read_matrix(MATRIX)
    rows = {row["id"]: row for row in matrix["mutants"]}
    parts: dict[str, list[Sequence[str]]] = {}
    for fault in faults:
        if fault.bug:
            row = (fault.bug, fault.description, *_caught_by(rows.get(fault.id, {})))
            parts.setdefault(fault.part, []).append(row)
    head = ("bug", "as planted", "caught by", "which said")
    tables = (f"## {part}\n\n{table(head, rows)}" for part, rows in parts.items())
    return "\n".join((HEAD.format(date=matrix["environment"]["started"][:10]), *tables))


def _caught_by(row: Mapping[str, Any]) -> tuple[str, str]:
    return row.get("gate") or "-", textwrap.shorten(row.get("said", ""), MAX_CHARACTERS, placeholder=" ...")
