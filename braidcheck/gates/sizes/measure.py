"""Tests an op along its sweeps: each size against the reference, and its rows among other neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from braidcheck.gates.gate import Trial
from braidcheck.gates.sizes import Evidence, borders
from braidcheck.gates.sizes.launches import Launch, instead_of_running
from braidcheck.gates.sizes.walk import Walk
from braidcheck.gates.under_test import run_check, wrapper
from braidcheck.numerics.calls import run
from braidcheck.op import Op, Sweep

Call = Callable[..., Any]
FURTHER = 2  # times the largest size of a sweep: maximum for limits that the code names


def measure_sizes(op: Op, call: Call, device: str, seed: int = 0, more: int = 0) -> list[Evidence]:
    """The evidence on ``call``, a candidate for ``op``, along each sweep; with ``more`` sizes of each drawn by
    ``seed``."""
    return [measure_sweep(op, call, sweep, device, seed, more) for sweep in op.sweeps]


def trial_checks(trial: Trial) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """One check per sweep of the trial's ops."""
    for op in trial.ops.values():
        for sweep in op.sweeps:
            yield sweep.name, partial(_violation, op, sweep, trial.device)


def _violation(op: Op, sweep: Sweep, device: str) -> str | None:
    return measure_sweep(op, wrapper(op.name), sweep, device)["violation"]


def measure_sweep(op: Op, call: Call, sweep: Sweep, device: str, seed: int = 0, more: int = 0) -> Evidence:
    """The evidence along one sweep, up to the first violation."""
    evidence: Evidence = {"op": op.name, "sweep": sweep.name, "sizes": [], "switches": [], "violation": None}
    max_size = sweep.max_size if device == "cpu" else sweep.max_size_gpu
    known = borders.ladder(max_size) | borders.on_both_sides(borders.numbers_of(op.name)) | set(sweep.far)
    known |= borders.drawn(max_size, more, seed)
    sizes = borders.allowed(known, max(max_size, *sweep.far, 0), sweep.step)
    named = borders.allowed(borders.own_limits(op.name), FURTHER * sweep.max_size_gpu, sweep.step)
    sizes += [size for size in named if size > max(sizes, default=0)]
    launches = cache(partial(_launches, op, call, sweep, device))
    if device != "cpu":
        sizes = borders.affordable(sizes, launches, (*sweep.far, *named))
    walk = Walk(op, call, sweep, device)
    if any(_violates(walk, size, evidence) for size in sizes):
        return evidence
    evidence["switches"] = sorted(set(borders.switches(sizes, launches, sweep.step)) - set(sizes))
    any(_violates(walk, size, evidence) for size in evidence["switches"])
    return evidence


def _violates(walk: Walk, size: int, seen: Evidence) -> bool:
    seen["sizes"].append(size)
    result = run_check(partial(walk.violation, size))
    if result and size > walk.sweep.max_size_gpu and result.startswith("ValueError"):
        result = None  # beyond its supported sizes an op may refuse
    seen["violation"] = result and f"at {' and '.join(walk.sweep.axes)} {size}: {result}"
    return bool(result)


def _launches(op: Op, call: Call, sweep: Sweep, device: str, size: int) -> tuple[Launch, ...]:
    inputs = (sweep.inputs or op.inputs)(sweep.at(size), device)
    with instead_of_running(size) as launches:
        run(op, call, inputs)
    return tuple(launches)
