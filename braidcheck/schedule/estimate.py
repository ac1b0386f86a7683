"""Estimates the time left of a gate run by scheduling the remaining units on its workers."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from braidcheck.gates import GATES
from braidcheck.report.progress import clock
from braidcheck.schedule.durations import Durations

PROGRESS = "progress.json"  # progress of the run, from the controller
OBSERVING = "observing.txt"  # progress of one long measurement, from a worker
PRIOR_SECONDS = 5.0  # of work at the usual speed, so that the first short items do not determine the machine's speed
MIN_SECONDS = 1.0  # minimum estimate for a running item


def unit_of(gate: str, subject: str) -> str:
    """The unit of work of an item: its gate, where one worker takes all of the gate's items, else the item."""
    return gate if gate in GATES and GATES[gate].in_one_worker else f"{gate}/{subject}"


@dataclass(frozen=True)
class State:
    """Progress of a run: the expected ids, the seconds of finished ones, and when the running ones began (seconds since
    1970)."""

    expected: Sequence[str]
    done: Mapping[str, float]
    running: Mapping[str, float]


def slowdown(pairs: Iterable[tuple[float, float]]) -> float:
    """How much longer items take than usual; ``pairs`` holds usual and measured seconds of those that are known."""
    usual, measured = PRIOR_SECONDS, PRIOR_SECONDS
    for one, other in pairs:
        usual, measured = usual + one, measured + other
    return measured / usual


def seconds_left(
    state: State, durations: Durations, unit: Callable[[str], str], workers: int, now: float
) -> float | None:
    """Seconds until the run ends; None if only items that already run longer than usual are waited for.

    ``unit`` names the unit of work of an id: its items run one after another, on one worker.
    """
    factor = _factor(state, durations, now)
    rest: dict[str, float] = {}
    for name in state.expected:
        if name not in state.done and name not in state.running:
            rest[unit(name)] = rest.get(unit(name), 0.0) + factor * durations.of(name)
    busy, overdue = [], 0.0
    for name, began in state.running.items():
        left = factor * durations.of(name) - (now - began)
        after = rest.pop(unit(name), 0.0)
        busy.append(max(abs(left), MIN_SECONDS) + after)  # a late item may need as long again as it is late
        if left < 0:
            overdue = max(overdue, busy[-1])
    left = _makespan(busy, rest.values(), workers)
    # If everything waits for an overdue item, no estimate is possible.
    return None if left <= overdue else left


def words(state: State, durations: Durations, unit: Callable[[str], str], workers: int, now: float) -> str:
    """The time left as text; empty if unknown."""
    if not state.running:
        return ""
    left = seconds_left(state, durations, unit, workers, now)
    if left is not None:
        return f"about {clock(left)} left"
    factor = slowdown((durations.of(name), seconds) for name, seconds in state.done.items())
    usual = max(factor * durations.of(name) for name in state.running)
    return f"a check takes longer than its usual {clock(max(usual, MIN_SECONDS))}"


def _factor(state: State, durations: Durations, now: float) -> float:
    """How much longer items take than usual: those that have ended, and running ones that are late already."""
    late = [(durations.of(name), now - began) for name, began in state.running.items()]
    return slowdown(
        [
            *((durations.of(name), seconds) for name, seconds in state.done.items()),
            *((usual, taken) for usual, taken in late if taken > usual),
        ]
    )


def _makespan(busy: Iterable[float], waiting: Iterable[float], workers: int) -> float:
    """Seconds until the last of ``workers`` ends: ``busy`` are those of running items, ``waiting`` those of the units
    that follow, in this order."""
    ends = list(busy)
    ends += [0.0] * (workers - len(ends))
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)
