"""Triton's semantic layer in its interpreter: casts, choices, products and constants without the checks of each call.

As with the operators, Triton's own code runs the first time that types meet, and numpy's function alone after that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic

from braidcheck.kernels.common.interpreter_bfloat16 import narrowed, widened
from braidcheck.kernels.common.interpreter_operators import NUMPY, Plan, fits

Convert = Callable[[np.ndarray], np.ndarray]
MAX_CONSTANTS = 4096


def patch() -> None:
    """Replace methods of the interpreter's semantic layer; to be called once."""
    TritonSemantic.cast = _cast(TritonSemantic.cast)
    TritonSemantic.dot = _dot(TritonSemantic.dot)
    TritonSemantic.where = _where(TritonSemantic.where)
    TritonSemantic.scalar_constant = _constant(TritonSemantic.scalar_constant)


def _cast(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, but a tensor that has the type already is returned at once, and casts without a rounding mode have
    plans."""
    plans: dict[tuple[str, str], Plan | None] = {}

    def cast(self: TritonSemantic, input: tl.tensor, dtype: tl.dtype, rounding: Any = None) -> tl.tensor:
        name = dtype.scalar.name
        if input.dtype.name == name:
            return input
        plan = plans.get((input.type.name, name)) if rounding is None else None
        if plan is not None:
            return plan.tensor(plan.compute(input.handle.data))
        result = plain(self, input, dtype, rounding)
        if rounding is None and (convert := _conversion(input.dtype.name, name)):
            plans[input.type.name, name] = Plan.of(convert, result)
        return result

    return cast


def _conversion(old: str, new: str) -> Convert | None:
    """How Triton's interpreter converts one type to another, if a single function does it."""
    if (old, new) == ("fp32", "bf16"):
        return narrowed
    if (old, new) == ("bf16", "fp32"):
        return widened
    if "int1" in (old, new) or (old == "fp16" and new != "fp32") or not {old, new} <= NUMPY.keys():
        # A comparison, or two casts: of float16 by way of float32, by which numpy gives other bits than directly for
        # 1,022 of the 65,536 (NaNs) as float64, and for 2,047 as uint32.
        return None
    dtype = NUMPY[new]
    return lambda data: data.astype(dtype)


def _where(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, by a plan for a tensor of truth values and two operands of which one may be a number."""
    plans: dict[tuple[Any, ...], Plan] = {}

    def where(self: TritonSemantic, condition: tl.tensor, one: Any, other: Any) -> tl.tensor:
        if condition.handle.data.dtype != np.bool_ or not (operands := _operands(one, other)):
            return plain(self, condition, one, other)
        key = condition.type.name, *[_kind(operand) for operand in (one, other)]
        plan = plans.get(key)
        if plan is None:
            result = plain(self, condition, one, other)
            plans[key] = Plan.of(np.where, result)
            return result
        return plan.tensor(np.where(condition.handle.data, *operands))

    return where


def _kind(operand: Any) -> Any:
    return operand.type.name if type(operand) is tl.tensor else type(operand)


def _operands(one: Any, other: Any) -> tuple[Any, Any] | None:
    """The arrays of two tensors of one type, or of a tensor and a number that Triton converts to its type."""
    if type(one) is not tl.tensor:
        swapped = _operands(other, one) if type(other) is tl.tensor else None
        return swapped and swapped[::-1]
    if type(other) is tl.tensor:
        return (one.handle.data, other.handle.data) if one.dtype.name == other.dtype.name else None
    if not one.handle.data.flags.c_contiguous:
        return None  # the result would have other strides, and a product of it might be summed in another order
    if fits(one, other) or (one.dtype.name == "fp32" and type(other) is float and math.isinf(other)):
        return one.handle.data, NUMPY[one.dtype.name].type(other)
    return None


def _constant(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, which makes a number's array once."""
    plans: dict[tuple[Any, ...], tuple[Plan, np.ndarray]] = {}

    def constant(self: TritonSemantic, value: Any, dtype: tl.dtype) -> tl.tensor:
        key = type(value), value, dtype.name if dtype else ""
        if planned := plans.get(key):
            return planned[0].tensor(planned[1])
        result = plain(self, value, dtype)
        if len(plans) < MAX_CONSTANTS:
            result.handle.data.setflags(write=False)
            plans[key] = Plan.of(np.array, result), result.handle.data
        return result

    return constant


def _dot(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, which checks the types and shapes of its operands only the first time."""
    checked: set[tuple[Any, ...]] = set()

    def dot(self: TritonSemantic, left: tl.tensor, right: tl.tensor, acc: tl.tensor | None, *options: Any) -> tl.tensor:
        if acc is None:
            return plain(self, left, right, acc, *options)
        key = left.type.name, right.type.name, acc.type.name, *map(str, options)
        if key not in checked:
            result = plain(self, left, right, acc, *options)
            checked.add(key)
            return result
        return self.tensor(self.builder.create_dot(left.handle, right.handle, acc.handle, None, 0), acc.type)

    return dot
