"""The time left, held to a simulated run: near where the durations are right, honest where they are wrong."""

import heapq
import random

import pytest

from braidcheck.schedule.durations import Durations
from braidcheck.schedule.estimate import State, seconds_left, unit_of, words


def unit(name):
    return unit_of(*name.split("/", 2)[1:])


def simulated(seconds, workers):
    """When each item begins and ends, where the units go in order to the worker that is free first; and the end."""
    spans, free = {}, [0.0] * workers
    units = {}
    for name in seconds:
        units.setdefault(unit(name), []).append(name)
    for names in units.values():
        at = heapq.heappop(free)
        for name in names:
            spans[name] = (at, at + seconds[name])
            at += seconds[name]
        heapq.heappush(free, at)
    return spans, max(free)


def state_at(now, seconds, spans):
    done = {name: seconds[name] for name, (_, end) in spans.items() if end <= now}
    running = {name: begin for name, (begin, end) in spans.items() if begin <= now < end}
    return State(list(seconds), done, running)


@pytest.fixture
def suite():
    """One long measurement with its checks, then many short items."""
    draw = random.Random(5)
    seconds = {"interpret/coherence/kl": 60.0, "interpret/coherence/nll": 0.0, "interpret/coherence/flips": 0.0}
    return seconds | {f"interpret/accuracy/{number}": draw.lognormvariate(-0.5, 1) for number in range(120)}


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_the_estimate_is_near_where_the_durations_are_right(suite, workers):
    spans, end = simulated(suite, workers)
    for part in (0.02, 0.1, 0.3, 0.5, 0.8, 0.95):
        left = seconds_left(state_at(part * end, suite, spans), Durations(suite, {}), unit, workers, part * end)
        assert left == pytest.approx((1 - part) * end, abs=1.5), part


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_estimate_learns_how_fast_the_machine_is(suite, workers, factor):
    spans, end = simulated(suite, workers)
    usual = Durations({name: factor * seconds for name, seconds in suite.items()}, {})
    for part in (0.6, 0.8, 0.9):
        left = seconds_left(state_at(part * end, suite, spans), usual, unit, workers, part * end)
        assert left == pytest.approx((1 - part) * end, rel=0.25, abs=2), part


def test_where_all_waits_for_a_late_item_there_is_no_number(suite):
    usual = Durations({**suite, "interpret/coherence/kl": 20.0}, {})  # it takes 60
    spans, end = simulated(suite, 4)
    said = []
    for now in range(1, int(end)):
        state = state_at(float(now), suite, spans)
        if state.running:
            said.append(words(state, usual, unit, 4, float(now)))
    assert not [text for text in said if "about 0 s" in text]
    assert said[-1].startswith("a check takes longer than its usual ")
    assert said[0].startswith("about ")


def test_nothing_is_about_to_end_in_no_time():
    usual = Durations({"interpret/accuracy/a": 10.0}, {})
    state = State(["interpret/accuracy/a"], {}, {"interpret/accuracy/a": 0.0})
    assert seconds_left(state, usual, unit, 1, 9.9) == 1.0
    assert seconds_left(state, usual, unit, 1, 30.0) is None
    assert words(state, usual, unit, 1, 30.0) == "a check takes longer than its usual 10 s"


def test_before_anything_runs_nothing_is_said():
    assert words(State([], {}, {}), Durations({}, {}), unit, 2, 0.0) == ""
