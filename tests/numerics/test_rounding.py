"""The bound's pieces against faults they must see and honest roundings they must not."""

import pytest
import torch

from braidcheck.numerics import rounding

pytestmark = pytest.mark.numeric


def terms(sign, length=4096, rows=64):
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(rows, length, generator=generator).abs() + 0.5
    return x if sign == "same" else x * (1 - 2 * (torch.arange(length) % 2))


@pytest.mark.parametrize("sign", ["same", "alternating"])
def test_a_float32_sum_in_any_order_stays_within_half(sign):
    t = terms(sign)
    bound = rounding.dot_error(t.double().abs().sum(-1), t.shape[1])
    for order in (t, t.flip(-1), t[:, torch.randperm(t.shape[1])]):
        sequential = torch.zeros(len(t))
        for column in order.T:
            sequential = sequential + column
        for got in (sequential, order.sum(-1)):
            assert ((got.double() - t.double().sum(-1)).abs() / bound).max() < 0.5


def test_a_bfloat16_sum_does_not():
    t = terms("alternating")
    bound = rounding.dot_error(t.double().abs().sum(-1), t.shape[1])
    partial = t.view(len(t), -1, 64).sum(-1).to(torch.bfloat16)
    total = torch.zeros(len(t), dtype=torch.bfloat16)
    for column in (partial + 8).T:
        total = total + column
    exact = t.double().sum(-1) + 8 * 64
    assert ((total.double() - exact).abs() / bound).max() > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 3, 64, 1024])
def test_rounded_operands_stay_within_half(dtype, length):
    generator = torch.Generator().manual_seed(length)
    x, w = (torch.randn(4000, length, generator=generator, dtype=torch.float64) for _ in range(2))
    exact = (x * w).sum(-1)
    bound = rounding.cast_error(dtype, (x * w).abs().sum(-1), (x * w).norm(dim=-1))
    shares = ((x.to(dtype).double() * w).sum(-1) - exact).abs() / bound
    assert 0.05 < shares.max() < 0.55
