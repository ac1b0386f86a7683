"""Runs ops and decode steps in the interpreter, records their accesses, and looks for races."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from braidcheck.gates.gate import Check
from braidcheck.gates.races.accesses import ATOMIC, Launch
from braidcheck.gates.races.launch_order import counter_races, launch_races, upstream_of
from braidcheck.gates.races.ordering import races
from braidcheck.gates.races.recording import recorded
from braidcheck.gates.under_test import module, wrapper
from braidcheck.gates.under_test.interpreter import last_program_first
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Inputs, Op

Call = Callable[[], object]
Smaller = Callable[[], AbstractContextManager[None]]

ROWS = (1, 16, 64)  # the maximum tokens of each group of cases: the sizes at which ops change kernels


def race_cases(op: Op) -> list[Case]:
    """Among cases with similar tokens and element size, the smallest with each set of arguments, and the largest."""
    cases = sorted((case for case in op.cases if not case.large and 0 not in case.axes.values()), key=_size)
    smallest = {(_group(case), tuple(case.axes)): case for case in reversed(cases)}
    largest = {_group(case): case for case in cases}
    chosen = {case.id: case for case in (*smallest.values(), *largest.values())}
    return sorted(chosen.values(), key=_size)


def _group(case: Case) -> tuple[int, int]:
    rows = case.get("T", case.get("B"))
    return sum(rows > most for most in ROWS), 4 if case.dtype == "float32" else 2


def _size(case: Case) -> int:
    product = 1
    for size in case.axes.values():
        product *= size
    return product


def op_checks(op: Op) -> Iterator[tuple[str, Check]]:
    """The checks of one op: each of its cases."""
    for case in race_cases(op):
        yield case.id, partial(case_race, op, case)


def case_race(op: Op, case: Case) -> str | None:
    """The first race of an op on one case."""
    inputs = copies(op.inputs(case, "cpu"))
    return call_race(partial(run, op, wrapper(op.name), inputs), inputs, partial(small_blocks, op.name))


def call_race(call: Call, inputs: Inputs, smaller: Smaller | None = None) -> str | None:
    """The first race of one call; ``inputs`` are the tensors that it is given."""
    upstream = upstream_of(inputs)
    races = (first_race(launches, upstream) for launches in recordings(call, smaller))
    return next(filter(None, races), None)


def recordings(call: Call, smaller: Smaller | None = None) -> Iterator[list[Launch]]:
    """The accesses of one call's launches, in all distinct orders and grids. Atomics order programs by their execution:
    such launches also run in reverse order. If each launch has one program, ``smaller`` blocks give it several.
    """
    launches = _recording(call)
    yield launches
    if any(access.kind == ATOMIC for launch in launches for access in launch.accesses()):
        with last_program_first():
            yield _recording(call)
    if smaller and all(len(launch.programs) < 2 for launch in launches):
        with smaller():
            yield _recording(call)


def _recording(call: Call) -> list[Launch]:
    with recorded() as launches:
        call()
    return launches


def small_blocks(op: str) -> AbstractContextManager[None]:
    """A context in which an op's blocks have a quarter of the rows and columns."""
    configs = module("kernels.common.configs")

    def smaller(config: Any) -> Any:
        blocks = {name: getattr(config, name) for name in ("block_m", "block_n")}
        return replace(config, **{name: max(1, size // 4) for name, size in blocks.items() if size})

    overrides = {key: smaller(config) for key, config in configs.configs().items() if key[0] == op}
    return configs.override_config(overrides)


def first_race(launches: Sequence[Launch], upstream: Launch | None = None) -> str | None:
    """The first race in a recording, None if there is none; each launch may begin while ``upstream`` still runs."""
    return next(_all_races(launches, upstream), None)


def _all_races(launches: Sequence[Launch], upstream: Launch | None) -> Iterator[str]:
    for launch in launches:
        yield from map(str, races(launch))
    yield from launch_races(launches)
    for launch in launches:
        if launch.pdl and upstream:
            yield from launch_races([upstream, launch])
    yield from counter_races(launches)
