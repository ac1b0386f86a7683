"""``braidcheck bench OP FILE:FUNCTION --against FILE:OTHER``: is one function slower than another?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from braidcheck import environment
from braidcheck.ci.paired.process import Process
from braidcheck.ci.paired.session import Session
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.errors import UserError
from braidcheck.gates import paired
from braidcheck.op import Op
from braidcheck.report import terminal
from braidcheck.report.progress import Progress
from braidcheck.result import Run, Verdict, write_atomically

MAX_CPU_BYTES = 16 << 20  # that a call may move on a CPU, where larger ones would use up the time
WORKER = "braidcheck.ci.paired.function_worker"
NO_GPU = "timed on a CPU, one thread, warm caches: this says nothing about a GPU, and Triton kernels cannot be timed"


def bench_against(words: list[str], other: str, minutes: float, as_json: bool, save: Path | None) -> int:
    """Time both in pairs of processes on the op's benchmark shapes: 0 no slower, 1 slower, 3 undecided or not timed."""
    if len(words) != 2 or ":" not in words[1]:
        raise UserError("--against compares two functions: bench OP FILE.py:FUNCTION --against FILE.py:OTHER")
    op, function = words
    check_ops([op])
    device = "cpu" if environment.why_no_gpu() else "cuda"
    with Progress("bench") as progress:
        run = Run(dict(environment.fingerprint()), (), _verdicts(op, function, other, device, 60 * minutes, progress))
    if save is not None:
        write_atomically(save, run.to_json())
    if as_json:
        print(run.to_json())
    else:
        terminal.show(run)
    if device == "cpu":
        print(NO_GPU, file=sys.stderr)
    return run.exit_code


def _verdicts(
    op: str, function: str, other: str, device: str, seconds: float, progress: Progress
) -> tuple[Verdict, ...]:
    series = _series(find_ops()[op], device)
    base, change = (_process(*side, device) for side in (("base", other), ("change", function)))
    with Session(base, change, progress=lambda text: progress(text)) as session:
        timings = session.measure(series, seconds)
    names = [str(one["name"]) for one in series]
    verdicts = paired.evaluate({"series": timings, "against": other.rpartition(":")[2]}, _lane(device), names)
    again = f"braidcheck bench {op} {function} --against {other}"
    return tuple(replace(verdict, reproduce=again) for verdict in verdicts)


def _series(op: Op, device: str) -> list[Mapping[str, Any]]:
    """The op's benchmark shapes; on a CPU only the small ones."""
    from braidcheck.benchmarks.shapes import series

    shapes = [one for one in series({op.name: op}) if device != "cpu" or op.cost(one.case).bytes <= MAX_CPU_BYTES]
    if not shapes:
        raise UserError(f"{op.name} has no benchmark_shapes that fit this machine: add some to its OP")
    return [
        {"name": one.name, "op": op.name, "axes": dict(one.case.axes), "case": {"dtype": one.case.dtype}}
        for one in shapes
    ]


def _process(side: str, function: str, device: str) -> Process:
    command = [sys.executable, "-m", WORKER, function, device]
    return Process(side, environment.PACKAGE.parent, lambda _: command)


def _lane(device: str) -> str:
    return "gpu" if device == "cuda" else ""
