"""``braidcheck sensitivity``: the smallest fault that each gate detects."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from braidcheck import environment
from braidcheck.cli.gate import Lane, choose_lane
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.cli.parallel import together
from braidcheck.mutants.evidence import SizeRow
from braidcheck.report import sensitivity as report
from braidcheck.report.progress import Progress
from braidcheck.result import Status, json_by_line, write_atomically

FORMAT = 1
SCHEMA = "sensitivity 1"
GATES = ("layers", "coherence", "accuracy")  # longest first, so that no process works alone at the end
Task = tuple[str, str, str]  # gate, op, lane


def sensitivity(
    op: Annotated[list[str] | None, typer.Option(help="only faults in this op; may be repeated")] = None,
    lane: Annotated[Lane, typer.Option(help="where to run the kernels")] = Lane.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one per core, at most 8")] = None,
    save: Annotated[Path | None, typer.Option(help="write the measurements to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> int:
    """Insert faults of growing size into each op and find the smallest that each gate detects 95% of the time."""
    chosen = choose_lane(lane)
    if chosen == "interpret":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which happens later
    check_ops(op or [])
    names = list(dict.fromkeys(op or find_ops()))
    began = time.monotonic()
    rows = _measure(names, chosen, workers or min(environment.cpus(), 8))
    body = {
        "format": FORMAT,
        "lane": chosen,
        "command": " ".join(["braidcheck sensitivity", f"--lane {chosen}", *(f"--op {name}" for name in op or ())]),
        "seconds": round(time.monotonic() - began),
        "environment": environment.fingerprint(),
    }
    text = json_by_line(body, "faults", rows, SCHEMA)
    if save is not None:
        write_atomically(save, text)
    if as_json:
        sys.stdout.write(text)
    else:
        report.show(rows)
    return 0


def _measure(names: Iterable[str], lane: str, workers: int) -> list[SizeRow]:
    gates = [gate for gate in GATES if gate != "layers" or lane == "gpu"]  # hours in the interpreter
    tasks = [(gate, name, lane) for gate in gates for name in names]
    rows: list[SizeRow] = []
    with Progress("sensitivity") as progress:
        for done, new_rows in enumerate(together(measure, tasks, workers), 1):
            rows += new_rows
            progress(f"{new_rows[-1]['gate']}: {new_rows[-1]['op']} done" if new_rows else "", done, len(tasks))
    order = {task[:2]: number for number, task in enumerate(tasks)}
    return sorted(rows, key=lambda row: -order[row["gate"], row["op"]])


def measure(task: Task) -> list[SizeRow]:
    """The rows of one gate and op, measured in this process."""
    rows = list(_rows(*task))
    if task[-1] == "gpu":
        import torch

        torch.cuda.empty_cache()  # the other processes use this GPU's memory too
    return rows


def _rows(gate: str, name: str, lane: str) -> Iterator[SizeRow]:
    from braidcheck.golden.resolve import resolve
    from braidcheck.mutants import sensitivity as evidence

    op, device = find_ops()[name], "cuda" if lane == "gpu" else "cpu"
    if gate == "accuracy":
        return evidence.of_accuracy(op, device, _fails(gate))
    if gate == "coherence":
        return evidence.of_coherence(op, *resolve(), device, _fails(gate))
    return evidence.of_layers(op, device, _fails(gate))


def _fails(gate: str) -> Callable[[Any], bool]:
    """Whether that gate fails on the evidence; an error, such as for parts that were not measured, is no failure."""
    from braidcheck.gates import accuracy, coherence, layers

    if gate == "accuracy":
        return lambda seen: accuracy.evaluate(seen).status == Status.FAIL
    evaluate = {"coherence": coherence, "layers": layers}[gate].evaluate
    return lambda seen: any(verdict.status == Status.FAIL for verdict in evaluate(seen))
