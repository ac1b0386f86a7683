"""Operators on the interpreter's tensors without what Triton repeats at each: promote types, compare shapes, splat.

The first time that an operator meets two types, Triton's own code runs. Where numpy's function on the operands gives
the same bits, the types of that result are kept as a plan, and from then on numpy's function alone runs. bfloat16,
float8 and what Triton refuses have no plan.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle

NUMPY = {  # the types that numpy computes in as they are
    **{f"int{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"fp{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "int1": np.dtype(bool),
}
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "floordiv": lambda left, right: (left - np.fmod(left, right)) // right,
    "mod": np.fmod,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
ALL = slice(None)
Compute = Callable[..., np.ndarray]  # of one, two or three operands


class Plan(NamedTuple):
    """How an operator computes on two types, and the types of what it gives."""

    compute: Compute
    stored: tl.dtype  # of the result's handle
    type: tl.dtype
    dtype: tl.dtype
    numel: Any
    shape: Any

    @classmethod
    def of(cls, compute: Compute, result: tl.tensor) -> Plan:
        """The plan that gives what ``result`` is."""
        # A comparison's handle says its operands' type, which is no part of the key of a later plan.
        stored = tl.int1 if result.dtype == tl.int1 else result.handle.dtype
        return cls(compute, stored, result.type, result.dtype, result.numel, result.shape)

    def tensor(self, data: np.ndarray) -> tl.tensor:
        """A tensor of these types, without the checks of its constructor."""
        handle, tensor = _new(TensorHandle), _new(tl.tensor)
        handle.__dict__ = {"data": data, "dtype": self.stored, "attr": {}}
        tensor.__dict__ = {
            "handle": handle,
            "type": self.type,
            "dtype": self.dtype,
            "numel": self.numel,
            "shape": self.shape,
        }
        return tensor


_new = object.__new__


def patch() -> None:
    """Replace the operators of the interpreter's tensors; to be called once, after Triton has patched its language."""
    for name, compute in OPERATORS.items():
        setattr(tl.tensor, f"__{name}__", _operator(getattr(tl.tensor, f"__{name}__"), compute))
    for name in ("add", "sub", "mul", "truediv"):
        swapped = _swapped(OPERATORS[name])
        setattr(tl.tensor, f"__r{name}__", _operator(getattr(tl.tensor, f"__r{name}__"), swapped))
    tl.tensor.__getitem__ = _getitem(tl.tensor.__getitem__)
    for name, compute in (("minimum", np.minimum), ("maximum", np.maximum)):
        setattr(TritonSemantic, name, _method(getattr(TritonSemantic, name), compute))


def _swapped(compute: Compute) -> Compute:
    return lambda left, right: compute(right, left)


def _operator(plain: Callable[..., Any], compute: Compute) -> Callable[..., Any]:
    """The operator ``plain``, by a plan where there is one; each combination of positional options has its own plan."""
    plans: dict[tuple[Any, ...], Plan | None] = {}

    def planned(left: tl.tensor, right: Any, *options: Any, **named: Any) -> Any:
        if type(right) is tl.constexpr:
            right = right.value
        if type(right) is tl.tensor:
            key, operand = (left.type.name, right.type.name, *options), right.handle.data
        elif fits(left, right):
            key, operand = (left.type.name, type(right), *options), right
        else:
            return plain(left, right, *options, **named)
        plan = plans.get(key, plans)
        if plan is plans:
            result = plain(left, right, *options, **named)
            plans[key] = _plan(compute, left, right, result)
            return result
        if plan is None:
            return plain(left, right, *options, **named)
        return plan.tensor(plan.compute(left.handle.data, operand))

    return planned


def _method(plain: Callable[..., Any], compute: Compute) -> Callable[..., Any]:
    """A method of Triton's semantic layer that takes two tensors, as an operator; its options are for a GPU."""
    planned = _operator(partial(plain, interpreter.interpreter_semantic), compute)
    return lambda self, *operands: planned(*operands)


def fits(tensor: tl.tensor, number: Any) -> bool:
    """Whether Triton converts ``number`` to the tensor's own type, without loss or refusal."""
    name = tensor.dtype.name
    if isinstance(number, bool):
        return False
    if isinstance(number, int):
        limit = {"fp32": 2**24, "int32": 2**31 - 1, "int64": 2**31 - 1}.get(name, -1)
        return -limit <= number <= limit
    return isinstance(number, float) and name == "fp32" and (number == 0.0 or 2.0**-126 <= abs(number) <= 2.0**127)


def _plan(plain_compute: Compute, left: tl.tensor, right: Any, result: Any) -> Plan | None:
    """The plan for operands such as these, or None where numpy's function gives anything else than ``result``."""
    compute = _on_types(plain_compute, left, right, result) if type(result) is tl.tensor else None
    if compute is None:
        return None
    data = result.handle.data
    with np.errstate(all="ignore"):
        computed = compute(left.handle.data, right.handle.data if type(right) is tl.tensor else right)
    if (computed.dtype, computed.shape, computed.tobytes()) != (data.dtype, data.shape, data.tobytes()):
        return None
    return Plan.of(compute, result)


def _on_types(compute: Compute, left: tl.tensor, right: Any, result: tl.tensor) -> Compute | None:
    """numpy's function for the types of these operands, if it has one."""
    if left.dtype.is_ptr():
        return _offset(left.dtype, right) if compute is np.add else None
    dtype = NUMPY.get(left.dtype.name)
    if dtype is None:
        return None
    if type(right) is not tl.tensor:
        return lambda values, number: compute(values, dtype.type(number))
    if right.dtype.name == left.dtype.name:
        return compute
    common = NUMPY.get(result.handle.dtype.name)
    if right.dtype.name not in NUMPY or common is None:
        return None
    return lambda one, other: compute(one.astype(common, copy=False), other.astype(common, copy=False))


def _offset(pointer: tl.dtype, right: Any) -> Compute | None:
    """Pointers plus signed offsets in elements."""
    size = np.uint64(max(1, pointer.element_ty.primitive_bitwidth // 8))
    if type(right) is tl.tensor and right.dtype.name in ("int32", "int64"):
        return lambda addresses, offsets: addresses + size * offsets.astype(np.uint64)
    return None


def _getitem(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, by a plan for the forms that add axes: [:, None] and the like."""
    plans: dict[tuple[Any, ...], Plan] = {}

    def getitem(self: tl.tensor, parts: Any, **options: Any) -> Any:
        if type(parts) is not tuple or not all(part is None or (type(part) is slice and part == ALL) for part in parts):
            return plain(self, parts, **options)
        key = (self.type.name, *[part is None for part in parts])
        if key not in plans:
            result = plain(self, parts, **options)
            plans[key] = Plan.of(operator.getitem, result)
            return result
        return plans[key].tensor(self.handle.data[parts])

    return getitem
