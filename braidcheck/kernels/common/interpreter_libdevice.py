"""The functions of libdevice in Triton's interpreter, which has none: PyTorch's, in float64 and rounded once.

Types and shapes are looked up as for NVIDIA's library; what that refuses is refused here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as of_cuda
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

SAME = (
    "abs acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh erf erfc erfinv exp exp2 expm1 floor "
    "fmod hypot isinf isnan ldexp lgamma log log10 log1p log2 nextafter pow signbit sin sinh sqrt tan tanh trunc"
)  # called so by PyTorch too
FUNCTIONS: dict[str, Callable[..., Tensor]] = {name: getattr(torch, name) for name in SAME.split()} | {
    "cbrt": lambda x: x.sign() * x.abs() ** (1 / 3),
    "cospi": lambda x: torch.cos(torch.pi * torch.fmod(x, 2)),
    "cyl_bessel_i0": torch.special.i0,
    "cyl_bessel_i1": torch.special.i1,
    "dadd_rn": torch.add,
    "ddiv_rn": torch.div,
    "dmul_rn": torch.mul,
    "erfcx": torch.special.erfcx,
    "exp10": partial(torch.pow, 10.0),
    "fabs": torch.abs,
    "fdim": lambda x, y: (x - y).clamp_min(0),
    "finite": torch.isfinite,
    "fma": lambda x, y, z: x * y + z,
    "j0": torch.special.bessel_j0,
    "j1": torch.special.bessel_j1,
    "nearbyint": torch.round,
    "normcdf": torch.special.ndtr,
    "pow": torch.pow,
    "powi": torch.pow,
    "rcbrt": lambda x: x.sign() * x.abs() ** (-1 / 3),
    "rcp_rn": torch.reciprocal,
    "rint": torch.round,
    "round": lambda x: x.sign() * (x.abs() + 0.5).floor(),  # half away from zero
    "rsqrt": torch.rsqrt,
    "rsqrt_rn": torch.rsqrt,
    "sinpi": lambda x: torch.sin(torch.pi * torch.fmod(x, 2)),
    "fadd_rn": torch.add,
    "fdiv_rn": torch.div,
    "fdivide": torch.div,
    "fmul_rn": torch.mul,
    "fsqrt_rn": torch.sqrt,
    "frcp_rn": torch.reciprocal,
    "sqrt_rn": torch.sqrt,
    "tgamma": lambda x: _gamma(x),
    "y0": torch.special.bessel_y0,
    "y1": torch.special.bessel_y1,
}


def patch() -> None:
    """Patch libdevice and the interpreter of this process; call it once."""
    InterpreterBuilder.create_extern_elementwise = _call
    for name, function in inspect.getmembers(of_cuda, tl.core.is_builtin):
        interpreted = partial(_without_semantic, function)
        setattr(of_cuda, name, interpreted)
        if hasattr(libdevice, name):
            setattr(libdevice, name, interpreted)


def _without_semantic(function: Callable[..., Any], *args: Any, _semantic: Any = None) -> Any:
    return function(*args, _semantic=interpreter.interpreter_semantic)


def _call(
    self: Any, library: str, path: str, symbol: str, args: list[TensorHandle], type: tl.dtype, pure: bool
) -> TensorHandle:
    function = FUNCTIONS.get(_name(symbol))
    if function is None:
        raise NotImplementedError(f"{symbol} not supported in interpreter mode")
    arguments = [torch.from_numpy(np.atleast_1d(arg.data).copy()) for arg in args]
    result = function(*(value.double() if value.is_floating_point() else value for value in arguments))
    dtype = interpreter._get_np_dtype(type.scalar)
    return TensorHandle(result.numpy().astype(dtype), type.scalar)


def _name(symbol: str) -> str:
    """The function behind ``__nv_tanhf``, ``__nv_fast_expf``, ``__nv_isinfd``: one name for both widths."""
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    return name if name in FUNCTIONS else name[:-1]


def _gamma(x: Tensor) -> Tensor:
    sign = torch.where((x < 0) & (x.floor() % 2 != 0), -1.0, 1.0)
    return torch.where(x == x.floor(), torch.where(x > 0, 1.0, torch.nan), sign) * torch.lgamma(x).exp()
