"""Two Runs beside each other."""

from dataclasses import replace

import pytest

from braidcheck.report import compare as module
from braidcheck.report.compare import compare, paired
from braidcheck.result import Run, Status


def timed(verdict, value, gate="paired", unit="x the base's time", **more):
    return verdict(gate, "rms_norm", value=value, limit=1.01, unit=unit, **more)


def test_what_got_worse_comes_first(accuracy_verdict):
    base = Run(
        {},
        (),
        (
            accuracy_verdict("a", "1", 0.2),
            accuracy_verdict("b", "1", 0.2),
            accuracy_verdict("c", "1", 0.2),
            accuracy_verdict("same", "1", 0.2),
        ),
    )
    now = Run(
        {},
        (),
        (
            accuracy_verdict("a", "1", 0.1),
            accuracy_verdict("b", "1", 0.6),
            accuracy_verdict("c", "1", 2.0, Status.FAIL),
            accuracy_verdict("same", "1", 0.2001),
        ),
    )
    found = compare(now, base).changes
    assert [(one.now.subject, one.cells[2]) for one in found] == [("c", "pass -> fail"), ("b", "pass"), ("a", "pass")]
    assert found[1].cells[3:] == ("0.2", "0.6", "error ratio", "80%", "40%", "+200.0%")


def test_a_verdict_that_is_no_longer_given_is_a_loss(accuracy_verdict, verdict):
    base, now = (
        Run({}, (), (accuracy_verdict("a", "1", 0.2),)),
        Run({}, (), (accuracy_verdict("a", "1", 0.2, Status.SKIPPED),)),
    )
    assert compare(now, base).changes[0].cells[2] == "pass -> skipped"


def test_rates_and_times_are_compared_on_one_machine_only(verdict):
    machine = {"hardware": "A"}
    slow, fast = timed(verdict, 1.05), timed(verdict, 1.0)
    assert compare(Run(machine, (), (slow,)), Run(machine, (), (fast,))).changes[0].cells[-1] == "+5.0%"
    found = compare(Run(machine, (), (slow,)), Run({"hardware": "B"}, (), (fast,)))
    assert found.changes == ()
    assert found.notes == ("Speed is not compared: the base ran on B, this on A.",)


def test_a_rate_that_falls_is_a_loss(verdict):
    rate = {"gate": "speed", "unit": "tok/s", "higher_is_better": True}
    machine = {"hardware": "A"}
    before, now = (Run(machine, (), (timed(verdict, value, **rate),)) for value in (100.0, 90.0))
    assert compare(now, before).changes[0].loss > 0
    assert compare(before, now).changes[0].loss < 0


def test_what_is_new_and_what_is_gone_is_said(accuracy_verdict):
    base, now = Run({}, (), (accuracy_verdict("a", "1", 0.2),)), Run({}, (), (accuracy_verdict("b", "1", 0.2),))
    assert compare(now, base).notes == ("New: accuracy b.", "Gone: accuracy a.")
    assert compare(replace(now, verdicts=()), base).notes == ("Gone: accuracy a.",)


def test_timings_have_no_limit_and_are_compared_shape_by_shape(verdict):
    def run(one, many):
        values = {"1 token": one, "512 tokens": many}
        made = (verdict("timing", f"rms_norm[{shape}]", value=v, unit="us") for shape, v in values.items())
        return Run({"hardware": "A"}, (), tuple(made))

    (found,) = compare(run(5.0, 11.0), run(5.0, 10.0)).changes
    assert found.cells == ("timing", "rms_norm[512 tokens]", "pass", "10", "11", "us", "", "", "+10.0%")
    assert found.loss > 0


def test_paired_timings_are_sorted_slowest_first(verdict):
    def series(name, value, status=Status.PASS, **metrics):
        return verdict("paired", name, status, value=value, limit=1.01, unit="x the base's time", metrics=metrics)

    known = {"base_us": 10.0, "change_us": 10.31, "interval": [1.028, 1.034]}
    run = Run({}, (), (series("a", 0.99), series("b", 1.031, Status.FAIL, **known), verdict("paired", "none")))
    assert paired(run) == [
        ("b", "fail", "10", "10.31", "+3.10%", "+2.80% to +3.40%"),
        ("a", "pass", "", "", "-1.00%", ""),
    ]


def test_only_the_paired_gate_s_series_are_paired(verdict):
    run = Run({}, (), (verdict("speed", "decode", value=80.0), verdict("paired", "a", value=1.0)))
    assert [row[0] for row in paired(run)] == ["a"]


def test_the_worst_case_speaks_for_its_op(accuracy_verdict):
    base, now = (Run({}, (), tuple(accuracy_verdict("a", str(n), v) for n, v in enumerate(values))) for values in (
        (0.1, 0.2), (0.1, 0.6),
    ))  # fmt: skip
    (found,) = compare(now, base).changes
    assert found.cells[3:5] == ("0.2", "0.6")
    assert found.loss == pytest.approx(0.4)


@pytest.mark.parametrize(("now", "said"), [(0.74, 0), (0.75, 0), (0.76, 1), (0.25, 0), (0.24, 1)])
def test_a_move_of_no_more_than_the_limit_is_not_said(accuracy_verdict, monkeypatch, now, said):
    monkeypatch.setattr(module, "SAME", 0.25)
    monkeypatch.setattr(module, "SAME_SPEED", 9.0)
    base, run = (Run({}, (), (accuracy_verdict("a", "1", value),)) for value in (0.5, now))
    assert len(compare(run, base).changes) == said


@pytest.mark.parametrize(("now", "said"), [(12.5, 0), (12.6, 1)])
def test_a_speed_has_a_limit_of_its_own(verdict, monkeypatch, now, said):
    monkeypatch.setattr(module, "SAME", 9.0)
    monkeypatch.setattr(module, "SAME_SPEED", 0.25)
    base, run = (Run({}, (), (verdict("timing", "a[1]", value=value, unit="us"),)) for value in (10.0, now))
    assert len(compare(run, base).changes) == said


@pytest.mark.parametrize(("status", "loss"), [("fail", "inf"), ("error", "inf"), ("inconclusive", "inf")])
def test_a_verdict_that_got_worse_is_an_infinite_loss_and_back_a_gain(accuracy_verdict, status, loss):
    good = Run({}, (), (accuracy_verdict("a", "1", 0.2),))
    bad = Run({}, (), (accuracy_verdict("a", "1", 0.2, Status(status)),))
    assert compare(bad, good).changes[0].loss == float(loss)
    assert compare(good, bad).changes[0].loss == -float(loss)


def test_many_names_that_came_or_went_are_cut(accuracy_verdict):
    nine = Run({}, (), tuple(accuracy_verdict(name, "1", 0.2) for name in "abcdefghi"))
    assert compare(nine, Run({}, (), ())).notes[0].endswith("accuracy h and 1 more.")
    eight = Run({}, (), nine.verdicts[:8])
    assert compare(eight, Run({}, (), ())).notes[0].endswith("accuracy h.")


@pytest.mark.parametrize(
    ("unit", "higher_is_better", "loss"),
    [("us", False, 0.25), ("x as fast", True, -0.2), ("GB/s", False, -0.2), ("tok/s", True, -0.2)],
)
def test_more_time_is_a_loss_and_more_rate_a_gain(verdict, unit, higher_is_better, loss):
    base, now = (
        Run({}, (), (verdict("timing", "a[1]", value=v, unit=unit, higher_is_better=higher_is_better),))
        for v in (10.0, 12.5)
    )
    assert compare(now, base).changes[0].loss == pytest.approx(loss)
