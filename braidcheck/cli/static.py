"""``braidcheck static``: the resources of every kernel on chips that need not be present, and the accepted baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from braidcheck import environment
from braidcheck.cli.overview import check_ops
from braidcheck.errors import NotAvailable
from braidcheck.gates import static as gate
from braidcheck.gates.static_rules import mean_width
from braidcheck.report.progress import Progress
from braidcheck.report.terminal import console
from braidcheck.result import Run, Status, Verdict


def static(
    op: Annotated[list[str] | None, typer.Option(help="compile only this op; may be repeated")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="accept as the baseline of this Triton version")] = False,
) -> int:
    """Compile every kernel ahead of time and show what it uses: registers, spills, shared memory, instructions."""
    from braidcheck.static import baseline
    from braidcheck.static.measure import measure_static

    check_ops(op or [])
    if reason := environment.why_no_triton():
        raise NotAvailable(reason)
    with Progress("static") as progress:
        evidence = measure_static(op or [], progress)
    if accept:
        baseline.accept(evidence, op or [])
    accepted, excused = baseline.read(evidence["triton"]), baseline.excused(evidence["triton"])
    ops = dict.fromkeys(row["op"] for row in evidence["rows"])
    verdicts = tuple(verdict for name in ops for verdict in gate.evaluate(evidence, accepted, name, excused=excused))
    if as_json:
        print(json.dumps({**evidence, "verdicts": [json.loads(verdict.to_json()) for verdict in verdicts]}, indent=1))
    else:
        _show(evidence["rows"], verdicts)
    return Run({}, (), verdicts).exit_code


HEADS = ("target", "registers", "spills", "shared", "warps", "instructions", "matrix", "load", "store")


def _show(rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> None:
    """One small table per configuration; failures and skips below them."""
    screen = console()
    for (op, kernel, configuration), group in groupby(rows, itemgetter("op", "kernel", "configuration")):
        of_one = list(group)
        cost = "".join(f", {of_one[0][name]:,} {name}" for name in ("bytes", "flops") if of_one[0][name])
        screen.print(f"{op}: {kernel} of {configuration}{cost}", soft_wrap=True, markup=False)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for head in HEADS:
            table.add_column(head, justify="left" if head == "target" else "right", min_width=10, no_wrap=True)
        for row in of_one:
            table.add_row(*_cells(row))
        screen.print(table)
    screen.print("warps: resident on a multiprocessor; load, store: bits of global memory per instruction")
    for verdict in verdicts:
        if verdict.status not in (Status.PASS, Status.SKIPPED):
            screen.print(
                f"{verdict.status} {verdict.subject}: {verdict.message}", style="red", soft_wrap=True, markup=False
            )
    for message in dict.fromkeys(verdict.message for verdict in verdicts if verdict.status == Status.SKIPPED):
        screen.print(f"skipped: {message}", style="dim", soft_wrap=True, markup=False)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return row["target"], escape(row["error"])
    matrix = ", ".join(f"{count} {kind}" for kind, count in row["matrix"].items())
    widths = (f"{mean_width(row[kind]):.0f}" for kind in ("loads", "stores"))
    taken = (f"{row[name]:,}" for name in ("registers", "spills", "shared", "occupancy", "instructions"))
    return row["target"], *taken, matrix, *widths
