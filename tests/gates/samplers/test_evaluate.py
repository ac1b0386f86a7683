"""Which question a setting's draws answer, and its verdict."""

import pytest

from braidcheck.gates.samplers import MIN_PER_BIN, evaluate
from braidcheck.result import Status

DRAWS = {"name": "top-p", "tokens": 300, "outside": 0, "what": "all tokens are among those kept"}
BINS = 4
EVEN = [MIN_PER_BIN] * BINS


def verdict_of(**given):
    (verdict,) = evaluate({"engine": "e", "model": "m", "draws": [{**DRAWS, **given}]})
    assert verdict.subject == "e on m: top-p"
    return verdict


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({}, Status.PASS, "all tokens are among those kept"),
        ({"bins": []}, Status.PASS, "all tokens are among those kept"),
        ({"skipped": "no top-p"}, Status.SKIPPED, "no top-p"),
        ({"error": "ended"}, Status.ERROR, "the engine ended"),
        ({"unknown": "too short"}, Status.INCONCLUSIVE, "too short"),
        ({"outside": 2, "last": 9, "last_expected": 3.0}, Status.FAIL, "2 of 300 tokens: all tokens are"),
        ({"worst": 0.5}, Status.PASS, "300 greedy tokens are HF's best"),
        ({"last": 30, "last_expected": 30.0}, Status.PASS, "is drawn 30 times of 300, expected are 30"),
        ({"last": 0, "last_expected": 30.0}, Status.FAIL, "is drawn 0 times of 300, expected are 30 (p is 9e-14"),
        ({"last": 0, "last_expected": 30.0, "convention": "top-p of all"}, Status.FAIL, "left out?; top-p of all"),
        ({"bins": EVEN}, Status.PASS, "as often as their probabilities say"),
        ({"bins": [*EVEN[1:], 30 * MIN_PER_BIN]}, Status.FAIL, "too many improbable ones"),
        ({"bins": [30 * MIN_PER_BIN, *EVEN[1:]]}, Status.FAIL, "too many probable ones"),
        ({"bins": [*EVEN[1:], MIN_PER_BIN - 1]}, Status.INCONCLUSIVE, f"{MIN_PER_BIN * BINS} are needed"),
    ],
)
def test_draws_answer_the_question_that_they_were_made_for(given, status, said):
    verdict = verdict_of(**given)
    assert (verdict.status, said in verdict.message) == (status, True), verdict.message


@pytest.mark.parametrize(
    ("given", "value", "limit", "higher_is_better"),
    [
        ({"outside": 2}, 2, 0, False),
        ({"worst": 0.5}, 0.5, 1, False),
        ({"last": 30, "last_expected": 28.5}, 30, 28.5, True),
    ],
)
def test_what_is_measured_stands_beside_its_limit(given, value, limit, higher_is_better):
    verdict = verdict_of(**given)
    assert (verdict.value, verdict.limit, verdict.higher_is_better) == (value, limit, higher_is_better)
