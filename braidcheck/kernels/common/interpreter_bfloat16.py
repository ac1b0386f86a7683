"""bfloat16 in Triton's interpreter as on a GPU: rounded to nearest even, and computed on values, not on raw bits.

Triton 3.6 to 3.9 truncate float32 -> bfloat16 and hand ``tl.dot``, the float operators and the reductions the uint16
storage. Patched here once, so that kernels need no upcasts, which on a GPU would turn their products into TF32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, ReduceOps, ScanOps, TensorHandle

ARITHMETIC = "fadd", "fsub", "fmul", "fdiv", "frem", "precise_divf", "minimumf", "minnumf", "maximumf", "maxnumf"
NAN = np.uint16(0x7FC0)
NARROW = tl.bfloat16, tl.float16


def patch() -> None:
    """Patch the interpreter of this process; call it once."""
    InterpreterBuilder.get_bf16 = lambda self, value: narrow(np.array([value], dtype=np.float32))
    patch_casts()
    patch_products()
    for name in dir(InterpreterBuilder):
        if name.removeprefix("create_") in ARITHMETIC or name.startswith("create_fcmp"):
            setattr(InterpreterBuilder, name, _on_values(getattr(InterpreterBuilder, name), "fcmp" in name))
    patch_reductions()


def patch_casts() -> None:
    """From and to every float and integer type; a cast to a narrower float that asks for it cuts off."""
    plain_cast = InterpreterBuilder.cast_impl

    def cast(self: Any, source: TensorHandle, target: tl.dtype, rounding: Any = None) -> TensorHandle:
        # A comparison's handle says the type of what was compared.
        old, new = tl.int1 if source.data.dtype == np.bool_ else source.dtype.scalar, target.scalar
        if old == new:
            return source
        if new == tl.bfloat16 and (old.is_floating() or old.is_int()):
            return narrow(source.data.astype(np.float32), "RTZ" in str(rounding))
        if old == tl.bfloat16:
            upcast = widen(source)
            return upcast if new == tl.float32 else plain_cast(self, upcast, target)
        return plain_cast(self, source, target)

    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_fp_to_fp = cast


def patch_products() -> None:
    """``tl.dot`` and ``tl.fma``, whose product is not rounded."""
    plain_dot = InterpreterBuilder.create_dot

    def dot(self: Any, a: TensorHandle, b: TensorHandle, acc: TensorHandle, *options: Any) -> TensorHandle:
        return plain_dot(self, widen(a), widen(b), acc, *options)

    def fma(self: Any, x: TensorHandle, y: TensorHandle, z: TensorHandle) -> TensorHandle:
        exact = widen(x).data.astype(np.float64) * widen(y).data + widen(z).data
        if z.dtype.scalar == tl.bfloat16:
            return narrow(exact.astype(np.float32))
        return TensorHandle(exact.astype(z.data.dtype), z.dtype.scalar)

    InterpreterBuilder.create_dot = dot
    InterpreterBuilder.create_fma = fma


def patch_reductions() -> None:
    """Sums of 16-bit floats in their own type, rounded at each addition of a tree; minima, maxima and scans on
    values."""
    plain_sum, plain_extremes = ReduceOps.sum, ReduceOps.min_max
    plain_scans = {name: getattr(ScanOps, name) for name in ("cumsum", "cumprod")}

    def total(self: Any, input: tl.tensor) -> tl.tensor:
        if input.dtype.scalar not in NARROW:
            return plain_sum(self, input)
        return self.to_tensor(_tree_sum(input.handle, self.axis, self.keep_dims), input.dtype)

    def extremes(self: Any, input: Any, *reduce: Any, **by_name: Any) -> Any:
        input = input[0] if isinstance(input, tuple) else input
        if input.dtype.scalar != tl.bfloat16:
            return plain_extremes(self, input, *reduce, **by_name)
        wide = tl.tensor(widen(input.handle), tl.block_type(tl.float32, list(input.handle.data.shape)))
        result = plain_extremes(self, wide, *reduce, **by_name)
        value, *index = result if isinstance(result, tuple) else (result,)
        if value.dtype != tl.float32:  # the index alone
            return result
        value = self.to_tensor(narrow(value.handle.data).data.reshape(value.handle.data.shape), tl.bfloat16)
        return (value, *index) if index else value

    def scan(self: Any, input: tl.tensor, name: str) -> Any:
        return self.generic_scan((input,)) if input.dtype.scalar in NARROW else plain_scans[name](self, input)

    ReduceOps.sum, ReduceOps.min_max = total, extremes
    ScanOps.cumsum = lambda self, input: scan(self, input, "cumsum")
    ScanOps.cumprod = lambda self, input: scan(self, input, "cumprod")


def _tree_sum(handle: TensorHandle, axis: int | None, keep_dims: bool) -> np.ndarray:
    """The sum of a 16-bit handle over ``axis``, or all axes, in storage: halves are added until one row is left."""
    shape, dtype = handle.data.shape, handle.dtype.scalar
    round_again = partial(_rounded, dtype=dtype)
    wide = widen(handle).data.astype(np.float32)
    values = wide.reshape(-1) if axis is None else np.moveaxis(wide, axis, 0)
    while len(values) > 1:
        half = len(values) // 2
        values = round_again(values[:half] + values[half : 2 * half])
    stored = narrow(values[0]).data if dtype == tl.bfloat16 else values[0].astype(np.float16)
    if not keep_dims:
        return stored
    return stored.reshape((1,) * len(shape)) if axis is None else np.expand_dims(stored, axis)


def _rounded(values: np.ndarray, dtype: tl.dtype) -> np.ndarray:
    return widen(narrow(values)).data if dtype == tl.bfloat16 else values.astype(np.float16).astype(np.float32)


def _on_values(plain: Callable[..., TensorHandle], is_comparison: bool) -> Callable[..., TensorHandle]:
    """The operator ``plain`` on the values of bfloat16 operands; what is no comparison is rounded to bfloat16 again."""

    def operator(self: Any, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        result = plain(self, widen(lhs), widen(rhs))
        return narrow(result.data) if lhs.dtype.scalar == tl.bfloat16 and not is_comparison else result

    return operator


def widen(handle: TensorHandle) -> TensorHandle:
    """A bfloat16 handle as float32, any other unchanged."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    return TensorHandle(widened(handle.data), tl.float32)


def widened(storage: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 ``storage``."""
    bits = storage.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def narrow(values: np.ndarray, cut: bool = False) -> TensorHandle:
    """A bfloat16 handle of float32 ``values``, rounded to nearest even or, with ``cut``, towards zero."""
    return TensorHandle(narrowed(values, cut), tl.bfloat16)


def narrowed(values: np.ndarray, cut: bool = False) -> np.ndarray:
    """The storage of ``narrow``."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits >> 16
    if not cut:
        rounded &= 1
        rounded += 0x7FFF
        rounded += bits
        rounded >>= 16  # in place: a new array for each step takes longer than the step
    return np.where(np.isnan(values), NAN, rounded.astype(np.uint16)).reshape(np.shape(values))
