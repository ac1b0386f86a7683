"""Derived bounds beside those that were derived by hand, and the rules they are made of."""

import math

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.races.measure import _size
from braidcheck.numerics import bounds, rounding
from braidcheck.numerics.approximate import Approximate
from braidcheck.numerics.calls import copies, in_float64, run
from braidcheck.numerics.error import error_ratios

OPS = kernels.find()
CHOICES = ("sample",)  # its bound says which tokens may be chosen
CASTS = {
    "linear_residual": {"matmul": "x"},
    "qkv_rope": {"linear": "qkv_weight"},
    "gate_up_silu": {"matmul": "weight", "silu": "weight"},
}
KERNELS = ("other blocks", "in blocks")  # take the interpreter, and are like the others here
U16 = rounding.ROUNDOFF[torch.bfloat16]


def derived(op):
    return bounds.derived(op.reference, op.contract.mutates, CASTS.get(op.name, {}))


def small_cases(op, count=9):
    cases = [case for case in op.cases if not (case.large or case.get("argmax") or 0 in case.axes.values())]
    return sorted(cases, key=_size)[:count]


@pytest.mark.numeric
@pytest.mark.parametrize("op", [op for op in OPS.values() if op.name not in CHOICES], ids=lambda op: op.name)
def test_derived_bounds_are_near_those_by_hand_and_refuse_no_equivalent_implementation(op):
    shares, worst = [], {}
    for case in small_cases(op):
        inputs = op.inputs(case, "cpu")
        by_hand, found = op.bound(**inputs), derived(op)(**inputs)
        for hand, own in zip(by_hand, found, strict=True):
            known = (hand > 0) & hand.isfinite()
            shares += [float((own[known] / hand[known]).median())] if known.any() else []
        exact = run(op, op.reference, in_float64(inputs))
        for name, function in {"PyTorch": op.reference, **op.variants}.items():
            if name in KERNELS or (case.dtype == "float16" and name in op.not_in_float16):
                continue
            for got, right, tolerance in zip(run(op, function, copies(inputs)), exact, found, strict=True):
                worst[name, case.id] = max(
                    worst.get((name, case.id), 0), float(error_ratios(got, right, tolerance).max())
                )
    assert [name for name, ratio in worst.items() if ratio > 0.5] == []
    if op.name != "cache_write":  # a copy: both are zero
        assert 1 / 4 <= sorted(shares)[len(shares) // 2] <= 4


def test_what_rounds_where_nothing_is_declared_is_refused():
    def narrow(x, weight, eps):
        return rounding.rms_normed(x, weight, eps).to(torch.bfloat16).float()

    op = OPS["rms_norm"]
    inputs = op.inputs(op.cases[0], "cpu")
    (exact,), (bound,) = run(op, op.reference, in_float64(inputs)), derived(op)(**inputs)
    assert float(error_ratios(narrow(**inputs), exact, bound).max()) > 100


def numbers(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_a_product_has_the_error_of_a_dot_and_its_operands():
    x, weight = numbers(3, 64), numbers(64, 5)
    product = bounds.dot(bounds.exact(x), weight)
    size = x.double().abs() @ weight.double().abs()
    assert torch.equal(product.value, x.double() @ weight.double())
    torch.testing.assert_close(product.error, rounding.dot_error(size, 64))
    cast = bounds.dot(bounds.cast(x, torch.bfloat16), weight).error - product.error
    terms = (x.double().square() @ weight.double().square()).sqrt()
    torch.testing.assert_close(cast, rounding.cast_error(torch.bfloat16, size, terms), rtol=1e-6, atol=0)


def test_the_last_rounding_belongs_to_no_bound_and_counts_where_it_is_used():
    x = numbers(100)
    rounded = bounds.cast(x, torch.bfloat16)
    assert not rounded.error.any()
    torch.testing.assert_close((rounded * 1.0).error, 2 * U16 * x.double().abs(), rtol=1e-3, atol=1e-30)


def test_one_error_that_many_elements_share_does_not_average_out():
    mean = bounds.cast(bounds.mean(numbers(1, 10_000) + 5, -1, True), torch.bfloat16)
    apart = bounds.sum(bounds.cast(numbers(10_000) + 5, torch.bfloat16)).error / U16
    together = bounds.sum(torch.zeros(1, 10_000) + mean).error / U16
    assert float(together) > 9 * float(apart) > 0


def test_errors_come_through_a_function_by_its_slope():
    x = bounds.exact(torch.tensor([0.0, 1.0, 5.0])) + 0.0
    given = x.error.clone()
    torch.testing.assert_close(bounds.elementwise(torch.exp, x, roundings=0).error, x.value.exp() * given)
    found = bounds.elementwise(torch.sigmoid, torch.tensor([-200.0]), roundings=6)
    assert float(found.error) > 200 * rounding.UNDERFLOW[torch.float32]  # a sigmoid that becomes 0


def test_softmax_and_norm_are_what_their_parts_are():
    scores = numbers(4, 30) * 5
    p = bounds.softmax(bounds.exact(scores))
    torch.testing.assert_close(p.value, scores.double().softmax(-1))
    assert bool((p.error < 200 * rounding.U32 * p.value).all())
    y = bounds.norm(numbers(4, 256), numbers(256), 1e-6)
    torch.testing.assert_close(y.value, rounding.rms_normed(numbers(4, 256).double(), numbers(256).double(), 1e-6))
    assert 0.5 < float((y.error / (rounding.norm_error(256) * y.value.abs())).median()) < 2


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_a_gelu_may_cancel_far_below_zero_and_nowhere_else(approximate):
    """PyTorch's own in float64 gives 0 where a relative error would permit none; a sigmoid gives the tiny number."""
    x = torch.tensor([-12.0, -9.0, -3.0, 0.5, 4.0])
    (allowed,) = bounds.derived(lambda x: torch.nn.functional.gelu(x, approximate=approximate))(x=x)
    exact = torch.nn.functional.gelu(x.double(), approximate=approximate)
    in_float32 = torch.nn.functional.gelu(x, approximate=approximate)
    assert bool(((in_float32 - exact).abs() <= allowed).all())
    assert bool((allowed < 10 * rounding.U32 * x.double().abs()).all())
    assert bool((allowed[3:] < 16 * rounding.U32 * exact[3:].abs()).all())
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        assert bool(((x * torch.sigmoid(2 * inner) - exact).abs() <= allowed).all())


def test_a_power_is_a_number_like_others():
    x = bounds.exact(numbers(5) + 3)
    assert torch.equal((x**3).value, (numbers(5) + 3).double() ** 3)
    assert torch.equal((2.0**x).value, 2.0 ** (numbers(5) + 3).double())


def test_what_is_written_in_place_carries_its_error():
    def reference(x, y):
        x[:1] = (y * 3.0).to(torch.bfloat16)
        return x.float().sum(-1)

    total, x = bounds.derived(reference, mutates=("x",))(x=numbers(2, 8, dtype=torch.bfloat16), y=numbers(1, 8))
    assert float(x[0].max()) < 1e-6
    assert not x[1].any()
    assert float(total[0]) > 1e-3 > 1e-5 > float(total[1])


@pytest.mark.parametrize("function", [lambda x: x.cumsum(-1), lambda x: x.mul_(2), torch.linalg.norm])
def test_what_has_no_rule_is_refused(function):
    with pytest.raises(NotImplementedError, match="no bound is derived through"):
        bounds.derived(function)(x=numbers(3)) if function is not torch.linalg.norm else function(
            bounds.exact(numbers(3))
        )


def test_a_hidden_score_has_no_error():
    def reference(x):
        scores = x * 2.0
        return torch.softmax(scores.masked_fill(torch.tensor([True, False]), -math.inf), -1)

    (found,) = bounds.derived(reference)(x=numbers(1, 2))
    assert float(found[0, 0]) == 0 < float(found[0, 1]) < 1e-5


@pytest.mark.parametrize("shift", [0.0, -40.0, 3000.0])
def test_a_log_sum_exp_has_the_error_of_its_scores_and_of_its_own_roundings(shift):
    scores = torch.randn(40, 300, generator=torch.Generator().manual_seed(3)) * 4 + shift
    exact, error = torch.logsumexp(scores.double(), -1), bounds.logsumexp(bounds.exact(scores)).error
    top = scores.amax(-1)
    ratios = error_ratios(torch.log(torch.exp(scores - top[:, None]).sum(-1)) + top, exact, error)
    assert ratios.max() <= 0.5
    assert error_ratios((exact + 2 * error).float(), exact, error).min() > 1
    moved = bounds.logsumexp(bounds.cast(bounds.exact(scores), torch.bfloat16)).error
    assert (error_ratios(torch.logsumexp(scores.bfloat16().float(), -1), exact, moved) <= 1).all()
    assert not shift or (error_ratios(torch.logsumexp(scores.bfloat16().float(), -1), exact, error) > 1).any()


def test_a_log_sum_exp_of_nothing_is_minus_infinity():
    nothing = bounds.logsumexp(bounds.exact(torch.full((2, 3), -math.inf)))
    assert nothing.value.tolist() == 2 * [-math.inf]
    assert nothing.error.isfinite().all()
    assert bounds.logsumexp(bounds.exact(torch.empty(2, 0))).value.tolist() == 2 * [-math.inf]


def test_a_log_sum_exp_is_off_by_what_all_of_its_scores_are_off():
    scores = torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    zero = torch.zeros_like(scores)
    off = Approximate.computed(scores, zero + 0.25, zero, zero)
    assert (bounds.logsumexp(off).error >= 0.25).all()
    assert (bounds.logsumexp(off).error < 0.25001).all()
    independent = Approximate.computed(scores, zero, zero + 0.25, zero + 0.25)
    assert (bounds.logsumexp(independent).error < 0.25 * 2.001).all()
    assert (bounds.logsumexp(independent).error > 0.25).all()
