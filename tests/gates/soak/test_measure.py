"""Soak evidence: fresh numbers for every pair, one exact answer for all functions, and dishonest ones stand out."""

import math
from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.soak.measure import KERNEL, TORCH_BASELINE, measure_soak, merge, pairs

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
def test_wrong_variant_has_large_error_ratio(op, variant):
    seen = measure_soak(op, pairs(op, 10, large=False), {"dishonest": variant})
    error_ratios = {row["function"]: row["error_ratio"] for row in seen["functions"]}
    assert error_ratios["dishonest"] > 1
    assert error_ratios[KERNEL] < 0.5
    assert error_ratios[TORCH_BASELINE] < 0.5
    assert seen["pairs"] == 10


def test_the_exact_answer_and_the_bound_are_made_once_a_pair():
    calls = []
    counted = replace(NORM, bound=lambda **inputs: calls.append("bound") or NORM.bound(**inputs))
    measure_soak(counted, pairs(NORM, 2, large=False), {"one": NORM.reference, "two": NORM.reference})
    assert calls == ["bound"] * 2


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (lambda x, weight, eps, residual=None: 1 / 0, "ZeroDivisionError"),
        (lambda x, weight, eps, residual=None: x.half(), "must be torch.float32"),
        (lambda x, weight, eps, residual=None: torch.full(x.shape, math.nan), None),
    ],
)
def test_invalid_result_has_infinite_error_ratio(variant, said):
    seen = measure_soak(NORM, pairs(NORM, 1, large=False), {"none": variant})
    row = seen["functions"][-1]
    assert row["error_ratio"] == math.inf
    assert row["raised"] is None if said is None else said in row["raised"]


def test_a_variant_is_not_run_where_it_lacks_an_argument():
    cases = [case for case in pairs(NORM, 20, large=False) if case.get("residual")][:1]
    seen = measure_soak(NORM, cases, {"plain": lambda x, weight, eps: NORM.reference(x, weight, eps)})
    assert [row["pairs"] for row in seen["functions"]] == [1, 1, 0]


def row(error_ratio, case="a", pairs=1):
    return {"function": "f", "pairs": pairs, "error_ratio": error_ratio, "case": case, "output": "y", "raised": None}


def test_merging_keeps_the_worst_and_adds_the_counts():
    one = {"op": "x", "pairs": 2, "elements": 10, "functions": [row(0.1, "a", 2)]}
    two = {"op": "x", "pairs": 3, "elements": 20, "functions": [row(0.4, "b", 3)]}
    none = {"op": "x", "pairs": 1, "elements": 1, "functions": [row(0.0, "", 0)]}
    for order in ([one, two, none], [none, two, one]):
        merged = merge(order)
        assert (merged["pairs"], merged["elements"]) == (6, 31)
        assert merged["functions"] == [row(0.4, "b", 5)]
