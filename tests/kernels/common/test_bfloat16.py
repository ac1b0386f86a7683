"""The interpreter shim: bfloat16 behaves as on a GPU."""

import pytest
import torch
import triton
import triton.language as tl

from braidcheck.kernels.common import interpreter
from braidcheck.numerics.error import distance
from braidcheck.numerics.rounding import dot_error


@triton.jit
def _cast(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, tl.load(x_ptr + i).to(tl.bfloat16))


@triton.jit
def _dot(a_ptr, b_ptr, c_ptr, N: tl.constexpr):
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    tl.store(c_ptr + i * N + j, tl.dot(tl.load(a_ptr + i * N + j), tl.load(b_ptr + i * N + j)))


@triton.jit
def _arithmetic(a_ptr, b_ptr, sum_ptr, less_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(a_ptr + i), tl.load(b_ptr + i)
    tl.store(sum_ptr + i, a + b)
    tl.store(less_ptr + i, (a < b).to(tl.int32))


def test_float32_to_bfloat16_rounds_to_nearest_even():
    ties = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 3e38, 1e-40, float("inf"), float("nan"), -0.0])
    x = torch.cat([torch.randn(248, generator=torch.Generator().manual_seed(3)), ties])
    y = torch.empty(256, dtype=torch.bfloat16)
    _cast[(1,)](x, y, N=256)
    assert torch.equal(y.nan_to_num(7), x.to(torch.bfloat16).nan_to_num(7))


@pytest.mark.numeric
def test_dot_of_bfloat16_multiplies_values():
    a, b = (torch.randn(32, 32, generator=torch.Generator().manual_seed(s)).to(torch.bfloat16) for s in (1, 2))
    c = torch.empty(32, 32)
    _dot[(1,)](a, b, c, N=32)
    exact, magnitude = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    assert distance(c, exact, dot_error(magnitude, 32)).error_ratio < 1


def test_arithmetic_of_bfloat16_works_on_values():
    a, b = (torch.randn(64, generator=torch.Generator().manual_seed(s)).to(torch.bfloat16) for s in (1, 2))
    total, less = torch.empty(64, dtype=torch.bfloat16), torch.empty(64, dtype=torch.int32)
    _arithmetic[(1,)](a, b, total, less, N=64)
    assert torch.equal(total, a + b)
    assert torch.equal(less.bool(), a < b)


def test_this_process_interprets():
    assert interpreter.INTERPRETED
