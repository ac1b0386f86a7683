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


@triton.jit
def _scalars(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, x * 2 + tl.full([N], 1.5, tl.bfloat16) - 1)


@triton.jit
def _integers(i_ptr, y_ptr, back_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    narrow = tl.load(i_ptr + i).to(tl.bfloat16)
    tl.store(y_ptr + i, narrow)
    tl.store(back_ptr + i, narrow.to(tl.int32))


@triton.jit
def _functions(a_ptr, b_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(a_ptr + i), tl.load(b_ptr + i)
    tl.store(y_ptr + i, tl.maximum(a, b))
    tl.store(y_ptr + N + i, tl.minimum(a, b))
    tl.store(y_ptr + 2 * N + i, tl.fma(a, b, a))
    tl.store(y_ptr + 3 * N + i, tl.abs(a))
    tl.store(y_ptr + 4 * N + i, -a)
    tl.store(y_ptr + 5 * N + i, a / b)
    tl.store(y_ptr + 6 * N + i, tl.where(a > b, a, b))
    tl.store(y_ptr + 7 * N + i, tl.clamp(a, -0.5, 0.5))
    tl.store(y_ptr + 8 * N + i, a.to(tl.float32).to(tl.bfloat16, fp_downcast_rounding="rtz"))


@triton.jit
def _reductions(x_ptr, rows_ptr, all_ptr, M: tl.constexpr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :])
    i = tl.arange(0, M)
    tl.store(rows_ptr + i, tl.sum(x, axis=1))
    tl.store(rows_ptr + M + i, tl.max(x, axis=1))
    tl.store(rows_ptr + 2 * M + i, tl.min(x, axis=1))
    tl.store(rows_ptr + 3 * M + i, tl.argmax(x, axis=1))
    tl.store(rows_ptr + 4 * M + i, tl.sum(tl.cumsum(x.to(tl.float32), axis=1), axis=1))
    tl.store(all_ptr, tl.sum(x))


def pair(dtype=torch.bfloat16, *shape):
    return [torch.randn(shape or 64, generator=torch.Generator().manual_seed(s)).to(dtype) for s in (1, 2)]


def test_python_numbers_and_bfloat16():
    (x, _), y = pair(), torch.empty(64, dtype=torch.bfloat16)
    _scalars[(1,)](x, y, N=64)
    assert torch.equal(y, x * 2 + 1.5 - 1)


def test_integers_become_bfloat16_and_back():
    i = torch.arange(-32, 32, dtype=torch.int32) * 1003
    y, back = torch.empty(64, dtype=torch.bfloat16), torch.empty(64, dtype=torch.int32)
    _integers[(1,)](i, y, back, N=64)
    assert torch.equal(y, i.to(torch.bfloat16))
    assert torch.equal(back, i.to(torch.bfloat16).to(torch.int32))


def test_functions_of_bfloat16_are_pytorchs():
    (a, b), y = pair(), torch.empty(9, 64, dtype=torch.bfloat16)
    _functions[(1,)](a, b, y, N=64)
    fused = (a.double() * b.double() + a.double()).to(torch.bfloat16)
    expected = a.maximum(b), a.minimum(b), fused, a.abs(), -a, a / b, torch.where(a > b, a, b), a.clamp(-0.5, 0.5), a
    for found, right in zip(y, expected, strict=True):
        assert torch.equal(found, right)


def test_a_cast_that_asks_for_it_cuts_off():
    x, y = torch.tensor([1 + 2.0**-8 + 2.0**-9, -1 - 2.0**-8 - 2.0**-9]), torch.empty(2, dtype=torch.bfloat16)
    _cut[(1,)](x, y, N=2)
    assert y.tolist() == [1, -1]


@triton.jit
def _cut(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, tl.load(x_ptr + i).to(tl.bfloat16, fp_downcast_rounding="rtz"))


def tree(x):
    """The sum over the last axis, rounded at each addition."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x[..., 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_reductions_of_16_bit_floats(dtype):
    (x, _), rows, total = pair(dtype, 4, 64), torch.empty(5, 4), torch.empty(1)
    _reductions[(1,)](x, rows, total, M=4, N=64)
    assert torch.equal(rows[0], tree(x).float())
    assert torch.equal(rows[1], x.amax(1).float())
    assert torch.equal(rows[2], x.amin(1).float())
    assert torch.equal(rows[3], x.argmax(1).float())
    assert total.item() == tree(x.flatten()).item()
    assert not torch.equal(rows[0], x.float().sum(1).to(dtype).float()), "a sum in the type itself rounds more often"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_running_sums_in_float32(dtype):
    x = (pair(torch.float32, 4, 64)[0] * 8).round() / 8  # whose sums are exact in float32, in any order
    rows, total = torch.empty(5, 4), torch.empty(1)
    _reductions[(1,)](x.to(dtype), rows, total, M=4, N=64)
    assert torch.equal(rows[4], x.cumsum(1).sum(1))


def test_this_process_interprets():
    assert interpreter.INTERPRETED
