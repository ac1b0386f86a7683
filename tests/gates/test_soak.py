"""The soak gate: half of the bound is the limit, for every function and for as many variants as an op must have."""

import math

import pytest

from braidcheck.gates import soak
from braidcheck.results import Status


def seen(share=0.2, pairs=1000, raised=None, variants=3):
    names = ["kernel", "stock PyTorch", *(f"variant {number}" for number in range(variants))]
    rows = [
        {"function": name, "pairs": 1000, "share": 0.1, "case": "x[a]", "output": "y", "raised": None} for name in names
    ]
    rows[-1] |= {"share": share, "pairs": pairs, "raised": raised}
    return {"op": "x", "pairs": 1000, "elements": 5, "functions": rows}


def test_below_half_passes_function_by_function():
    verdicts = soak.judge(seen(0.5), "gpu")
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
    assert [verdict.subject for verdict in verdicts][:3] == ["x[kernel]", "x[stock PyTorch]", "x[variant 0]"]
    assert verdicts[-1].sentence == "variant 2 of x uses 0.500 of the bound on x[a] (y), worst of 1000"


@pytest.mark.parametrize("share", [0.501, math.inf, math.nan])
def test_above_half_fails(share):
    assert soak.judge(seen(share))[-1].status == Status.FAIL


def test_what_raised_fails_in_words():
    verdict = soak.judge(seen(math.inf, raised="ValueError: no"))[-1]
    assert (verdict.status, verdict.sentence) == (Status.FAIL, "variant 2 of x raised ValueError: no on x[a]")


def test_what_never_ran_is_an_error():
    assert soak.judge(seen(0.0, pairs=0))[-1].status == Status.ERROR


def test_too_few_variants_are_an_error():
    verdict = soak.judge(seen(variants=2))[-1]
    assert (verdict.subject, verdict.status) == ("x[variants]", Status.ERROR)
