"""Whole models of equivalent implementations on the terminal: the results of each coherence check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck.report.terminal import console
from braidcheck.result import Status, Verdict

STATUSES = ("pass", "inconclusive", "skipped", "fail", "error")


def show(models: Sequence[Mapping[str, Any]], verdict: Verdict) -> None:
    """Print one row per check: how often each status occurred and the largest part of its limit that any model used;
    then the ``verdict`` on all."""
    table = Table("check", *STATUSES, "worst of the limit", box=box.SIMPLE_HEAD, pad_edge=False)
    for check in dict.fromkeys(name for row in models for name in row["checks"]):
        outcomes = [row["checks"][check] for row in models if check in row["checks"]]
        counts = Counter(status for status, _used in outcomes)
        used = [used for _status, used in outcomes if used is not None]
        table.add_row(check, *(str(counts[status] or "") for status in STATUSES), f"{max(used):.2f}" if used else "")
    console().print(table)
    for drawn in ("attention", "storage"):
        counts = Counter(row[drawn] for row in models)
        console().print(f"{drawn}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    functions = {(op, name) for row in models for op, name in row["functions"].items()}
    tokens = sum(row["tokens"] for row in models)
    console().print(
        f"{len(models)} models, {tokens} tokens, {len(functions)} functions of {len({o for o, _ in functions})} ops"
    )
    style = "green" if verdict.status == Status.PASS else "bold red"
    console().print(Text.assemble((f"{verdict.status} ", style), verdict.message), soft_wrap=True)
