"""The gates of promises: one violation fails, none asked is an error."""

import pytest

from braidcheck.gates.violations import evaluate
from braidcheck.result import Status


@pytest.mark.parametrize(
    ("violations", "status", "message"),
    [
        ({}, Status.ERROR, "no check was run"),
        ({"a": None}, Status.PASS, "1 contract check passed"),
        ({"a": None, "b": None}, Status.PASS, "2 contract checks passed"),
        ({"a": None, "b": "is off"}, Status.FAIL, "b: is off"),
        ({"op": "is off", "b": "too", "c": None}, Status.FAIL, "is off; 1 more of 3 fail"),
    ],
)
def test_each_violation_counts(violations, status, message):
    verdict = evaluate("edges", "op", violations, "gpu")
    assert (verdict.status, verdict.message, verdict.lane) == (status, message, "gpu")
    assert verdict.value == sum(said is not None for said in violations.values())
