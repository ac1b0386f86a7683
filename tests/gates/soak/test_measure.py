"""Soak evidence: fresh numbers for every pair, one exact answer for all functions, and dishonest ones stand out."""

import math
from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.soak.measure import KERNEL, STOCK, merge, observe_soak, pairs

OPS = kernels.find()
NORM, LINEAR = OPS["rms_norm"], OPS["linear_residual"]


def test_pairs_are_fresh_small_and_as_many_as_asked_for():
    found = pairs(LINEAR, 40, large=False)
    assert len({case.entropy for case in found}) == len(found) == 40
    assert all(case.seed > 0 and not case.large and case["T"] for case in found)


def test_large_cases_come_in_the_first_rounds_only():
    found = pairs(LINEAR, 1000, large=True)
    large = [case.id for case in LINEAR.cases if case.large]
    assert {replace(case, seed=0).id for case in found if case.large} == set(large)
    assert sum(case.large for case in found) == 2 * len(large)
    assert len(found) == 1000


def test_an_op_without_cases_is_refused():
    with pytest.raises(ValueError, match="no case"):
        pairs(replace(NORM, cases=()), 3, large=True)


def rounding_before_the_weight(x, weight, eps, residual=None, out=None):
    total = x.float() if residual is None else x.float() + residual.float()
    y = (total * torch.rsqrt(total.square().mean(-1, keepdim=True) + eps)).to(torch.bfloat16).float() * weight.float()
    return y if residual is None else (y, total.to(x.dtype))


def accumulating_in_bfloat16(x, weight, residual):
    total = torch.zeros(residual.shape, dtype=torch.bfloat16)
    for k in range(0, x.shape[1], 32):
        total += (x[:, k : k + 32].float() @ weight[:, k : k + 32].float().T).to(torch.bfloat16)
    return (residual.float() + total.float()).to(residual.dtype)


@pytest.mark.parametrize(("op", "variant"), [(NORM, rounding_before_the_weight), (LINEAR, accumulating_in_bfloat16)])
def test_a_dishonest_variant_stands_out(op, variant):
    seen = observe_soak(op, pairs(op, 10, large=False), {"dishonest": variant})
    shares = {row["function"]: row["share"] for row in seen["functions"]}
    assert shares["dishonest"] > 1
    assert shares[KERNEL] < 0.5
    assert shares[STOCK] < 0.5
    assert seen["pairs"] == 10


def test_the_exact_answer_and_the_bound_are_made_once_a_pair():
    calls = []
    counted = replace(NORM, bound=lambda **given: calls.append("bound") or NORM.bound(**given))
    observe_soak(counted, pairs(NORM, 2, large=False), {"one": NORM.reference, "two": NORM.reference})
    assert calls == ["bound"] * 2


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (lambda x, weight, eps, residual=None: 1 / 0, "ZeroDivisionError"),
        (lambda x, weight, eps, residual=None: x.half(), "must be torch.float32"),
        (lambda x, weight, eps, residual=None: torch.full(x.shape, math.nan), None),
    ],
)
def test_what_is_no_answer_has_an_infinite_share(variant, said):
    seen = observe_soak(NORM, pairs(NORM, 1, large=False), {"none": variant})
    row = seen["functions"][-1]
    assert row["share"] == math.inf
    assert row["raised"] is None if said is None else said in row["raised"]


def test_a_variant_is_not_run_where_it_lacks_an_argument():
    cases = [case for case in pairs(NORM, 20, large=False) if case.get("residual")][:1]
    seen = observe_soak(NORM, cases, {"plain": lambda x, weight, eps: NORM.reference(x, weight, eps)})
    assert [row["pairs"] for row in seen["functions"]] == [1, 1, 0]


def row(share, case="a", pairs=1):
    return {"function": "f", "pairs": pairs, "share": share, "case": case, "output": "y", "raised": None}


def test_merging_keeps_the_worst_and_adds_the_counts():
    one = {"op": "x", "pairs": 2, "elements": 10, "functions": [row(0.1, "a", 2)]}
    two = {"op": "x", "pairs": 3, "elements": 20, "functions": [row(0.4, "b", 3)]}
    none = {"op": "x", "pairs": 1, "elements": 1, "functions": [row(0.0, "", 0)]}
    for order in ([one, two, none], [none, two, one]):
        merged = merge(order)
        assert (merged["pairs"], merged["elements"]) == (6, 31)
        assert merged["functions"] == [row(0.4, "b", 5)]
