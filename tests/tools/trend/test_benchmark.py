"""The detector's published numbers, on a small sample; and the scoring that they rest on."""

import math

import pytest

from tools.trend import benchmark, rules, synthetic

SERIES = 25


@pytest.mark.parametrize(
    ("scenario", "false", "recall"),
    [(synthetic.IID[1], 0, 0.95), (synthetic.HARD[1], 2, 0.85)],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_numbers_to_reach(scenario, false, recall):
    made = benchmark.score(benchmark.by_rule(rules.braidcheck_rule), scenario, SERIES)
    assert made.nights == SERIES * 121
    assert made.per_thousand <= false
    assert made.recall >= recall


@pytest.mark.parametrize("rule", rules.RULES.values(), ids=rules.RULES)
def test_every_rule_sees_a_large_step_and_no_change_in_none(rule):
    asked = [(logs, 20, 130) for logs, _, _ in synthetic.Scenario("quiet", 0.001).histories(3, 0.05)]
    for nights in benchmark.by_rule(rule)(asked):
        assert not any(nights[: 100 - 20])
        assert any(nights)


def test_what_nobody_said_is_lost():
    silent = benchmark.score(lambda asked: [[[]] * (last - first + 1) for _, first, last in asked], synthetic.IID[0], 3)
    assert (silent.false, silent.recall, silent.delays) == (0, 0, (math.inf,) * 3)


def test_none_seen_is_not_none():
    made = benchmark.Score(0, 3000, (3, 5, 6, math.inf))
    assert (made.per_thousand, made.recall) == (0, 0.5)
    assert made.at_most == pytest.approx(1.0, abs=0.01)  # the rule of three


def test_an_alarm_counts_when_it_is_new():
    assert benchmark._new([[], [10], [11], [10, 40], [], [10]]) == 3
    assert benchmark._new([[5], [5]]) == 1


def test_what_could_be_known():
    quiet, loud = (synthetic.Scenario("", sigma, phi=0.5, spikes=0.05) for sigma in (0.003, 0.02))
    assert (benchmark.told(quiet, 30), benchmark.told(loud, 30)) == (1.0, pytest.approx(0.0, abs=0.1))


def test_delay_counts_the_slow_nights_that_were_seen():
    assert benchmark._delay([[], [5], [5, 99]], 100, 100) == 3
    assert benchmark._delay([[5], [5]], 100, 100) == math.inf
    assert benchmark._delay([[98]], 100, 109) == 1, "a ramp is said before it is over"


def test_missing_nights_move_the_change():
    for logs, start, full in synthetic.Scenario("gaps", 0.0001, missing=0.3).histories(5, 0.02):
        assert len(logs) < 125
        assert start == full
        assert logs[start] - logs[start - 1] == pytest.approx(0.02, abs=0.002)


def test_the_table_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(synthetic, "IID", synthetic.IID[:1])
    monkeypatch.setattr(synthetic, "HARD", ())
    monkeypatch.setattr(synthetic, "OTHER_SCENARIOS", ())
    assert benchmark.main(["--series", "2"]) == 0
    said = capsys.readouterr().out
    assert [line.split("%")[1].split("  ")[0].strip() for line in said.splitlines() if line.startswith("iid")]
    assert "Otava: not run" in said
    assert [line.split()[-1] for line in said.splitlines() if "told noise and night" in line] == ["1.000"]
    assert "kernel 1 of 1, control 1 of 1, environment 1 of 1" in said
