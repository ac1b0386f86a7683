"""The determinism gate: one other bit fails, and what was run once shows nothing."""

import pytest

from braidcheck.gates import determinism
from braidcheck.result import Status


def row(**changes):
    return {"op": "x", "case": "x[a]", "repeats": 20, "differing": 0} | changes


def test_the_same_bits_pass():
    verdict = determinism.evaluate([row(), row()], "x", "gpu")
    expected = "x: 20 runs of 2 cases gave the same bits"
    assert (verdict.status, verdict.message) == (Status.PASS, expected)


def test_other_bits_fail():
    verdict = determinism.evaluate([row(), row(differing=1)], "x")
    expected = "x: 1 of 20 runs of x[a] gave other bits than the first run"
    assert (verdict.status, verdict.message) == (Status.FAIL, expected)


@pytest.mark.parametrize("evidence", [[], [row(repeats=1)]])
def test_what_was_not_repeated_shows_nothing(evidence):
    assert determinism.evaluate(evidence, "x").status == Status.ERROR


@pytest.mark.parametrize("other", [row(), row(repeats=1)])
def test_the_case_that_was_repeated_least_decides(other):
    verdict = determinism.evaluate([row(repeats=1), other], "x")
    assert (verdict.status, verdict.metrics["repeats"]) == (Status.ERROR, 1)
    assert determinism.evaluate([], "x").metrics["repeats"] == 0


def test_runs_with_other_bits_are_counted():
    verdict = determinism.evaluate([row(differing=2), row(differing=3)], "x")
    assert (verdict.value, verdict.limit) == (5, 0)
