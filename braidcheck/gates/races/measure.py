"""Run ops and decode steps in the interpreter, recorded, and look for races in what their programs did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.races.launch_order import counter_races, launch_races, upstream_of
from braidcheck.gates.races.ordering import races
from braidcheck.gates.races.recording import ATOMIC, Launch, recorded
from braidcheck.gates.under_test import wrapper
from braidcheck.gates.under_test.interpreter import last_program_first
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Op

ROWS = (1, 16, 64)  # the most tokens of each group of cases: where ops take another kernel


def race_cases(op: Op) -> list[Case]:
    """Of each group, alike in tokens and element size: the smallest case with each set of arguments, and the largest."""
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


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of all of the trial's ops: on a GPU, of those whose programs meet in an atomic, under delays."""
    if trial.device != "cpu":
        from braidcheck.gates.races.delays import delayed_cases, has_atomics

        for op in trial.ops.values():
            if has_atomics(op.name):
                yield from delayed_cases(op)
        return
    rows = [(op, case) for op in trial.ops.values() for case in race_cases(op)]
    for op, case in sorted(rows, key=lambda row: trial.case_seconds.get(row[1].id, 0.0)):
        yield case.id, partial(case_race, op, case)


def case_race(op: Op, case: Case) -> str | None:
    """The first race of an op on one case.

    Atomics order programs as they happen to run: then the programs are run last first, too.
    """
    inputs, call = copies(op.inputs(case, "cpu")), wrapper(op.name)
    upstream = upstream_of(inputs)
    for backwards in (False, True):
        launches = _recording(partial(run, op, call, inputs), backwards)
        if found := first_race(launches, upstream):
            return found
        if not any(access.kind == ATOMIC for launch in launches for access in launch.accesses()):
            break
    return None


def _recording(call: Callable[[], object], backwards: bool) -> list[Launch]:
    with ExitStack() as stack:
        launches = stack.enter_context(recorded())
        if backwards:
            stack.enter_context(last_program_first())
        call()
    return launches


def first_race(launches: Sequence[Launch], upstream: Launch | None = None) -> str | None:
    """The first race in a recording, None where there is none; each launch may begin while ``upstream`` still runs."""
    return next(_all_races(launches, upstream), None)


def _all_races(launches: Sequence[Launch], upstream: Launch | None) -> Iterator[str]:
    for launch in launches:
        yield from map(str, races(launch))
    yield from launch_races(launches)
    for launch in launches:
        if launch.pdl and upstream:
            yield from launch_races([upstream, launch])
    yield from counter_races(launches)
