"""libdevice in the interpreter: PyTorch's numbers, and the library's refusals."""

import pytest
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as of_cuda
from triton.runtime.errors import InterpreterError

from braidcheck.kernels.common import interpreter  # noqa: F401  (its import patches the interpreter)
from braidcheck.kernels.common.interpreter_language import cannot_interpret


@triton.jit
def _apply(x_ptr, y_ptr, FUNCTION: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, FUNCTION(tl.load(x_ptr + i)))


@triton.jit
def _pairs(x_ptr, y_ptr, FUNCTION: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, FUNCTION(x, x + 1))
    tl.store(y_ptr + N + i, FUNCTION(x, 2.0))


def answer(function, x, rows=1):
    y = torch.empty(rows * len(x), dtype=x.dtype)
    (_apply if rows == 1 else _pairs)[(1,)](x, y, FUNCTION=function, N=len(x))
    return y


def exactly(function, *values):
    return function(*(value.double() for value in values)).to(values[0].dtype)


X = torch.tensor([0.125, -0.5, 1.5, 2.5, 0.75, -3.25, 0.9, 5.0])
ULP = 2**-23  # both are computed in float64 and rounded once, to neighbours where that falls between two
FDIM = lambda x, y: (x - y).clamp_min(0)  # noqa: E731
UNARY = {
    "tanh": torch.tanh, "erf": torch.erf, "exp": torch.exp, "log1p": torch.log1p, "rsqrt": torch.rsqrt,
    "rint": torch.round, "fast_expf": torch.exp, "fast_sinf": torch.sin, "sinh": torch.sinh, "cyl_bessel_i0": torch.i0,
    "trunc": torch.trunc, "isinf": torch.isinf, "div_rn": torch.div, "pow": torch.pow, "fdim": FDIM,
    "atan2": torch.atan2, "exp10": lambda x: 10**x, "round": lambda x: x.sign() * (x.abs() + 0.5).floor(),
    "tgamma": lambda x: torch.special.gammaln(x).exp() * torch.where((x < 0) & (x.floor() % 2 != 0), -1.0, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("library", [libdevice, of_cuda], ids=["generic", "cuda"])
def test_functions_are_pytorchs(name, library):
    function = getattr(library, name)
    if name in ("div_rn", "pow", "fdim", "atan2"):
        right = torch.cat([exactly(UNARY[name], X, X + 1), exactly(UNARY[name], X, torch.full_like(X, 2))])
        torch.testing.assert_close(answer(function, X, 2), right, equal_nan=True, rtol=ULP, atol=0)
    else:
        torch.testing.assert_close(answer(function, X), exactly(UNARY[name], X), equal_nan=True, rtol=ULP, atol=0)


def test_types_that_the_library_refuses_stay_refused():
    with pytest.raises(InterpreterError, match="KeyError"):
        answer(libdevice.tanh, X.to(torch.bfloat16))


def test_a_function_that_is_missing_says_so():
    with pytest.raises(InterpreterError) as caught:
        answer(libdevice.brev, X.to(torch.int32))
    assert cannot_interpret(caught.value) == "__nv_brev not supported in interpreter mode"
