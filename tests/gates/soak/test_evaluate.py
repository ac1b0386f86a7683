"""The soak gate: half of the bound is the limit, for every function and for as many variants as an op must have."""

import math

import pytest

from braidcheck.gates import soak
from braidcheck.result import Status


def seen(error_ratio=0.2, pairs=1000, raised=None, variants=3):
    names = ["kernel", "PyTorch baseline", *(f"variant {number}" for number in range(variants))]
    rows = [
        {"function": name, "pairs": 1000, "error_ratio": 0.1, "case": "x[a]", "output": "y", "raised": None}
        for name in names
    ]
    rows[-1] |= {"error_ratio": error_ratio, "pairs": pairs, "raised": raised}
    return {"op": "x", "pairs": 1000, "elements": 5, "functions": rows}


def test_below_half_passes_function_by_function():
    verdicts = soak.evaluate(seen(0.5), "gpu")
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
    assert [verdict.subject for verdict in verdicts][:3] == ["x[kernel]", "x[PyTorch baseline]", "x[variant 0]"]
    assert verdicts[-1].message == "variant 2 of x reaches an error ratio of 0.500 on x[a] (y), worst of 1000"


@pytest.mark.parametrize("error_ratio", [0.501, math.inf, math.nan])
def test_above_half_fails(error_ratio):
    assert soak.evaluate(seen(error_ratio))[-1].status == Status.FAIL


def test_what_raised_fails_in_words():
    verdict = soak.evaluate(seen(math.inf, raised="ValueError: no"))[-1]
    assert (verdict.status, verdict.message) == (Status.FAIL, "variant 2 of x raised ValueError: no on x[a]")


def test_what_never_ran_is_an_error():
    assert soak.evaluate(seen(0.0, pairs=0))[-1].status == Status.ERROR


def test_too_few_variants_are_an_error():
    verdict = soak.evaluate(seen(variants=2))[-1]
    assert (verdict.subject, verdict.status) == ("x[variants]", Status.ERROR)


def model(seed, refused=(), raised=None, flips="pass"):
    checks = {"kl": ["pass", 0.1], "flips": [flips, None]}
    return {"seed": seed, "checks": checks, "refused": list(refused), "raised": raised}


def test_accepted_models_pass_with_confidence_bound():
    verdict = soak.evaluate_models([model(seed) for seed in range(199)] + [model(199, flips="inconclusive")], "gpu")
    assert (verdict.status, verdict.value, verdict.metrics["inconclusive"]) == (Status.PASS, 0, {"flips": 1})
    assert verdict.message == "0 of 200 whole models of equivalent implementations were refused (95%: at most 1.5% are)"


@pytest.mark.parametrize("bad", [{"refused": ["kl: far"]}, {"raised": "ValueError: far"}])
def test_one_refused_model_fails_with_its_seed_and_reason(bad):
    verdict = soak.evaluate_models([model(1), model(2, **bad)])
    assert (verdict.status, verdict.metrics["seeds"]) == (Status.FAIL, [2])
    assert "first seed 2" in verdict.message
    assert "far" in verdict.message


def test_no_model_at_all_is_an_error():
    assert soak.evaluate_models([]).status == Status.ERROR
