"""The gates of promises: one complaint fails, none asked is an error."""

import pytest

from braidcheck.gates.violations import evaluate
from braidcheck.result import Status


@pytest.mark.parametrize(
    ("complaints", "status", "sentence"),
    [
        ({}, Status.ERROR, "nothing was asked"),
        ({"a": None}, Status.PASS, "keeps its promise"),
        ({"a": None, "b": None}, Status.PASS, "keeps all of 2 promises"),
        ({"a": None, "b": "is off"}, Status.FAIL, "b: is off"),
        ({"op": "is off", "b": "too", "c": None}, Status.FAIL, "is off; 1 more of 3 fail"),
    ],
)
def test_each_complaint_counts(complaints, status, sentence):
    verdict = evaluate("edges", "op", complaints, "gpu")
    assert (verdict.status, verdict.sentence, verdict.lane) == (status, sentence, "gpu")
    assert verdict.value == sum(said is not None for said in complaints.values())
