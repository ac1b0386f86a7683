"""Which samples are discarded, and that some always stay."""

import random

import pytest

from braidcheck.benchmarks.clocks import HARMFUL, Sample, State, kept, reading

CALM = State(1980, 400.0)
HOT, SLOW, IDLE = State(1980, 700.0, 0x4), State(1700, 300.0), State(1980, 100.0, 0x1)


def samples(*states):
    return [Sample(1e-5 * (1 + number / 100), (state, CALM)) for number, state in enumerate(states)]


def test_throttled_and_slow_samples_go():
    taken = samples(CALM, HOT, CALM, SLOW, CALM)
    assert kept(taken) == [taken[0], taken[2], taken[4]]
    assert reading(taken)["discarded"] == 2
    assert not reading(taken)["disturbed"]


def test_idling_is_no_disturbance():
    assert len(kept(samples(IDLE, CALM, IDLE))) == 3


def test_every_harmful_reason_is_one():
    for bit in (0x4, 0x8, 0x20, 0x40, 0x80):
        assert HARMFUL & bit
        assert len(kept(samples(CALM, State(1980, 400.0, bit), CALM))) == 2


def test_what_is_disturbed_throughout_is_kept_and_said():
    taken = samples(HOT, HOT, HOT, CALM)
    assert kept(taken) == taken
    assert reading(taken)["disturbed"]


def test_the_rule_never_empties_a_sample():
    draw = random.Random(1)
    for _ in range(2000):
        states = [State(draw.choice([300, 1200, 1965, 1980]), 1.0, draw.choice([0, 1, 4, 8, 0x20, 0xFF]))
                  for _ in range(draw.randint(1, 7))]  # fmt: skip
        taken = samples(*states)
        assert 2 * len(kept(taken)) >= len(taken)


def test_no_sample_is_no_reading():
    with pytest.raises(ValueError, match="no sample"):
        reading([])
