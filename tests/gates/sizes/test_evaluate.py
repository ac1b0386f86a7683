"""The sizes gate: one violation along any sweep fails, and a sweep without a size shows nothing."""

import pytest

from braidcheck.gates import sizes
from braidcheck.result import Status


def row(**changes):
    return {"op": "x", "sweep": "T of x[a]", "sizes": [1, 2, 65], "switches": [], "violation": None} | changes


def test_right_sizes_pass():
    verdict = sizes.evaluate([row(), row(sweep="H of x[a]", sizes=[1], switches=[33])], "x", "gpu")
    assert (verdict.status, verdict.message) == (Status.PASS, "right at 4 sizes along T of x[a], H of x[a]")
    assert verdict.metrics["largest"] == {"T of x[a]": 65, "H of x[a]": 1}
    assert verdict.metrics["switches"] == {"H of x[a]": [33]}


def test_one_violation_fails():
    verdict = sizes.evaluate([row(), row(sweep="H of x[a]", violation="at H 2: wrong")], "x")
    assert (verdict.status, verdict.message, verdict.value) == (Status.FAIL, "at H 2: wrong", 1)


@pytest.mark.parametrize("evidence", [[], [row(), row(sizes=[])]])
def test_a_sweep_without_sizes_shows_nothing(evidence):
    assert sizes.evaluate(evidence, "x").status == Status.ERROR
