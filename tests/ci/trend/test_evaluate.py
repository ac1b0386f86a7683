"""From Runs to a Trend: which way is worse, what moved, and what was skipped."""

import math

import numpy as np
import pytest

from braidcheck.ci.trend import changes
from braidcheck.ci.trend.evaluate import _differ, environment_moves, evaluate
from braidcheck.result import Run, Status, Verdict


def times(nights=40, at=30, change=0.05, seed=0, base=100.0):
    noisy = base * np.exp(0.003 * np.random.default_rng(seed).normal(size=nights))
    noisy[at:] *= 1 + change
    return [float(value) for value in noisy]


def test_a_slower_kernel(nights):
    trend = evaluate(nights(times()))
    (found,) = trend.findings
    assert (found.series, found.time, found.cause, found.worse) == ("gpu/speed/decode", "30", "kernel", True)
    assert found.change == pytest.approx(0.05, abs=0.005)
    assert 0.99 < found.confidence <= 1
    assert found.detail == f"since commit {'0' * 12}, after {'0' * 12}"
    assert (trend.exit_code, trend.evaluated, trend.skipped) == (1, 1, {})
    assert list(found.plain()) == ["series", "time", "change", "confidence", "cause"]


@pytest.mark.parametrize(("unit", "change", "worse"), [
    ("us", 0.05, True), ("us", -0.05, False), ("s", 0.05, True),
    ("tok/s", 0.05, False), ("tok/s", -0.05, True), ("GB/s", -0.05, True), ("TFLOP/s", -0.05, True),
])  # fmt: skip
def test_more_time_is_worse_and_more_rate_is_better(nights, unit, change, worse):
    trend = evaluate(nights(times(change=change), unit=unit))
    assert [found.worse for found in trend.findings] == [worse]
    assert trend.exit_code == worse


def test_a_floor_says_that_more_is_better():
    runs = [Run({"started": str(night), "hardware": "H200"}, (), (
        Verdict("imported", "x", Status.SKIPPED, "imported", value=value, higher_is_better=True),
    )) for night, value in enumerate(times())]  # fmt: skip
    assert evaluate(runs).exit_code == 0
    assert len(evaluate(runs).findings) == 1


def test_a_failed_gate_is_still_a_measurement(nights):
    assert evaluate(nights(times(), status=Status.FAIL)).evaluated == 1


def test_a_measurement_that_went_wrong_is_none(nights):
    trend = evaluate(nights(times(), status=Status.ERROR))
    assert (trend.evaluated, trend.findings, trend.exit_code) == (0, (), 3)
    assert trend.skipped


def test_the_order_of_the_runs_is_that_of_their_times(nights):
    runs = nights(times())
    assert evaluate(runs[::-1]) == evaluate(runs)


def test_what_is_no_timing_is_no_series(nights):
    trend = evaluate(nights(times(), unit="x HF bfloat16"))
    assert (trend.evaluated, trend.skipped, trend.exit_code) == (0, {}, 3)


@pytest.mark.parametrize(("last", "says"), [("", "does not have it"), (None, "the GPU fell off"), (math.nan, "fine"),
                                            (math.inf, "fine"), (0.0, "fine")])  # fmt: skip
def test_series_without_last_value_is_skipped(nights, last, says):
    calm = times(change=0)
    assert evaluate(nights(calm)).exit_code == 0
    trend = evaluate(nights([*calm, last]))
    assert (trend.exit_code, trend.evaluated) == (3, 0)
    assert says in trend.skipped["gpu/speed/decode"]
    assert evaluate(nights([*times(), last])).exit_code == 1, "what is known of earlier nights is said all the same"


def test_the_last_night_counts(nights):
    values = times(40, 37, 0.1)
    (found,) = evaluate(nights(values)).findings
    assert found.time == "37"
    assert evaluate(nights(values[:-1])).findings == (), "three nights confirm a change, two do not"


def test_a_missing_control_is_a_missing_value(nights):
    runs = nights(times(change=0), control=lambda night: 50.0 if night < 39 else None)
    assert "control" in evaluate(runs).skipped["gpu/speed/decode"]
    assert not evaluate(nights(times(change=0), control=lambda night: 50.0 if night != 20 else None)).skipped


def test_silent_machine_is_skipped(nights):
    def day(first):
        return lambda night: {"started": f"2026-{1 + (night + first) // 28:02}-{1 + (night + first) % 28:02}"}

    here, there = nights(times(change=0), environment=day(3)), nights(times(change=0), environment=day(0))
    there = [Run({**run.environment, "hardware": "H100"}, (), run.verdicts) for run in there]
    trend = evaluate([*here, *there])
    assert list(trend.skipped) == ["gpu/speed/decode @ H100"]
    assert "last Run was on 2026-02-12" in trend.skipped["gpu/speed/decode @ H100"]


def test_too_few_nights_are_skipped(nights):
    trend = evaluate(nights(times(9, 5)))
    assert trend.skipped == {"gpu/speed/decode": "9 nightly runs, 10 are needed"}
    assert trend.exit_code == 3


def test_machines_are_never_compared(nights):
    slow, fast = times(change=0), times(change=0, base=50.0)
    runs = nights(slow[:20] + fast[:20], environment=lambda night: {"hardware": "H100" if night < 20 else "H200"})
    assert evaluate(runs).findings == ()
    same = nights(slow[:20] + fast[:20])
    assert len(evaluate(same).findings) == 1, "on one machine this is a change"


def test_what_moves_the_whole_machine_is_divided_away(nights):
    values = times()
    assert evaluate(nights(values)).findings
    assert not evaluate(nights(values, control=lambda night: 50.0 * (1.05 if night >= 30 else 1))).findings


def test_the_control_may_be_what_moved(nights):
    (found,) = evaluate(nights(times(change=0), control=lambda night: 50.0 * (0.95 if night >= 30 else 1))).findings
    assert found.cause == "control"
    assert "the control moved by -5.0%, the kernel by +0." in found.detail
    (found,) = evaluate(nights(times(), control=lambda night: 50.0 + night % 2 / 50)).findings
    assert found.cause == "kernel"


@pytest.mark.parametrize(("before", "after", "says"), [
    ({"driver": "570"}, {"driver": "580"}, "driver 570 -> 580"),
    ({"libraries": {"torch": "2.13", "numpy": "1"}}, {"libraries": {"torch": "2.14", "numpy": "2"}},
     "torch 2.13 -> 2.14"),
    ({"libraries": {"triton": "3.7"}}, {"libraries": {"triton": "3.8"}}, "triton 3.7 -> 3.8"),
    ({"clocks": {"sm": 1980, "memory": 3201}}, {"clocks": {"sm": 1755, "memory": 3190}}, "clock sm 1980 -> 1755"),
    ({"clocks": 1980.0}, {"clocks": 1755.0}, "clock 1980.0 -> 1755.0"),
])  # fmt: skip
def test_the_environment_may_be_what_moved(nights, before, after, says):
    for at in (30, 28, 32):  # the change may be dated a night or two beside it
        runs = nights(times(), environment=lambda night, at=at: after if night >= at else before)
        (found,) = evaluate(runs).findings
        assert (found.cause, found.detail.split("; ")[1]) == ("environment", says)
    (found,) = evaluate(nights(times(), environment=lambda night: after if night >= 20 else before)).findings
    assert found.cause == "kernel", "it moved long before"


def test_unknown_subject_is_no_change():
    assert environment_moves({"driver": "570"}, {"driver": ""}) == []
    assert environment_moves({}, {"clocks": {"sm": 1980}}) == []


def test_ten_nights_are_enough(nights):
    assert (evaluate(nights(times(10, 5))).evaluated, evaluate(nights(times(9, 5))).evaluated) == (1, 0)


def test_numbers_of_the_environment_differ_from_more_than_one_per_cent_on():
    def moves(before, after):
        return environment_moves({"clocks": before}, {"clocks": after})

    assert moves(100, 101) == moves(100, 99) == []
    assert moves(100, 101.5) == ["clock 100 -> 101.5"]
    assert moves(1980, "auto") == ["clock 1980 -> auto"]
    assert moves("auto", 1980) == ["clock auto -> 1980"]


def test_a_change_without_commits_says_nothing_of_them(nights):
    for nothing in ("", None):
        runs = nights(times(), environment=lambda _night, nothing=nothing: {"commit": nothing})
        (found,) = evaluate(runs).findings
        assert found.detail == ""
    (found,) = evaluate(nights(times(), environment=lambda night: {"commit": "abc" if night >= 30 else ""})).findings
    assert found.detail == "since commit abc, after one unknown"
    assert found.change == round(found.change, 6)


@pytest.mark.parametrize(("hours", "silent"), [(36, 0), (37, 1)])
def test_a_machine_has_a_day_and_a_half(nights, hours, silent):
    def late(by):
        return lambda night: {"started": str(86400 * night + 3600 * by)}

    here, there = nights(times(change=0), environment=late(hours)), nights(times(change=0), environment=late(0))
    there = [Run({**run.environment, "hardware": "H100"}, (), run.verdicts) for run in there]
    assert len(evaluate([*here, *there]).skipped) == silent


def test_numbers_below_zero_differ_as_those_above_do():
    assert not _differ(-1.0, -1.0)
    assert not _differ(-1.0, -1.0 - changes.FLOOR / 2)
    assert _differ(-1.0, -1.0 - 2 * changes.FLOOR)
