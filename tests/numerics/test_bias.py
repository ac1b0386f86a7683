"""Errors that lean to one side: a bias is seen from the size that is stated, roundings never."""

import math
from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.numerics import bias
from braidcheck.numerics.bias import DEVIATIONS, MIN_ROWS
from braidcheck.numerics.calls import in_float64, run
from braidcheck.numerics.error import error_ratios
from braidcheck.numerics.rounding import ROUNDOFF

OPS = kernels.find()
FLOATS = [name for name in OPS if name not in ("cache_write", "sample")]


def exact(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ratio(got, y, tolerance, systematic=None, baseline=None):
    return bias.ratio(got, y, tolerance, tolerance if systematic is None else systematic, baseline)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (MIN_ROWS, 7), (300, 64)])
def test_correct_roundings_lean_nowhere(dtype, shape):
    for seed in range(20):
        y = exact(*shape, seed=seed)
        assert ratio(y.to(dtype), y, 1e-9 * y.abs()) < 0.6
        assert ratio((y + 0.49 * y.abs() * 2**-9).to(dtype), y, y.abs() * 2**-9) < 1  # as far as half of the bound


@pytest.mark.parametrize("sign", ["one", "answer's"])
@pytest.mark.parametrize(("dtype", "part"), [(torch.float32, 100.0), (torch.bfloat16, 5.0), (torch.bfloat16, 0.2)])
def test_nine_tenths_of_the_bound_everywhere_are_seen_from_the_stated_size(dtype, part, sign):
    """``part`` is the tolerance over the last rounding; four times the stated size, so that no luck is needed."""
    count = math.ceil(4 * (DEVIATIONS * 1.4 / 0.4 / part) ** 2) + 4
    y = exact(1, count)
    tolerance = part * ROUNDOFF[dtype] * y.abs()
    lean = 0.9 * tolerance * (y.sign() if sign == "answer's" else 1)
    got = (y + lean).to(dtype)
    assert error_ratios(got, y, tolerance).max() < 1  # no element shows it
    assert ratio(got, y, tolerance) > 1


def test_rows_that_agree_are_seen_below_the_casts():
    """All rows off by a quarter of a cast that the contract permits and that takes five times as much."""
    y = exact(2 * MIN_ROWS, 64)
    u = ROUNDOFF[torch.bfloat16]
    got = (y * (1 + u / 4)).to(torch.bfloat16)
    tolerance, systematic = 5 * u * y.abs(), 1e-5 * y.abs()
    assert error_ratios(got, y, tolerance).max() < 0.5
    assert ratio(got, y, tolerance, systematic) > 1
    assert ratio(got[: MIN_ROWS - 1], *(part[: MIN_ROWS - 1] for part in (y, tolerance, systematic))) < 1
    assert ratio(y.to(torch.bfloat16), y, tolerance, systematic) < 0.6


@pytest.mark.parametrize(("part", "is_seen"), [(0, False), (0.5, False), (1, False), (3, True), (-1, True)])
def test_casts_explain_as_much_bias_as_the_reference_has_with_them(part, is_seen):
    """A quarter of a cast in all rows is seen (above), unless the reference's own casts lean as far."""
    y = exact(2 * MIN_ROWS, 64)
    u = ROUNDOFF[torch.bfloat16]
    baseline, got = ((y * (1 + share * u / 4)).to(torch.bfloat16) for share in (1, part))
    found = ratio(got, y, 5 * u * y.abs(), 1e-5 * y.abs(), baseline)
    assert (found > 1) == is_seen


def test_the_same_answer_many_times_counts_once():
    y = exact(1, 1).expand(500, 100)
    assert ratio(y.to(torch.bfloat16), y, 1e-9 * y.abs()) < 0.6


def test_what_is_not_finite_or_must_be_exact_says_nothing():
    y = torch.tensor([[math.nan, math.inf, 1.0]], dtype=torch.float64)
    assert ratio(torch.tensor([[0.0, 1.0, 7.0]]), y, torch.zeros(1, 3, dtype=torch.float64)) == 0


BLIND = {("qk_norm_rope", "bfloat16")}  # see the test
FEW = ("zero_rows", "one_sign", "flat")


@pytest.mark.parametrize("op", FLOATS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_within_the_bound_of_an_op_is_seen(op, dtype):
    """0.9 of the bound on all elements. What an op rounds to 16 bits once, after nothing but float32, hides a bias of
    float32 size: no case has the elements (1e8) that it would take."""
    seen = 0
    for case in OPS[op].cases:
        if case.large or case.profile not in FEW or case.get("argmax"):
            continue
        case = replace(case, dtype=dtype)
        inputs = OPS[op].inputs(case, "cpu")
        truths, bounds = run(OPS[op], OPS[op].reference, in_float64(inputs)), OPS[op].bound(**inputs)
        for name, y, tolerance in zip(OPS[op].outputs, truths, bounds, strict=False):
            wanted = OPS[op].contract.output_dtype(name, inputs)
            got = (y + 0.9 * tolerance).to(getattr(torch, wanted) if isinstance(wanted, str) else wanted)
            seen += ratio(got, y, tolerance) > 1
    assert bool(seen) != ((op, dtype) in BLIND), seen
