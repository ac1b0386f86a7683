"""Loads and stores by pointers in Triton's interpreter: numpy moves all elements at once, Triton's loop one by one.

The same elements are read and written; no byte that the mask leaves out is touched.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from braidcheck.kernels.common.interpreter_operators import Plan

# With a mask. A call of float32 takes Triton's loop as long as numpy at 290 (stores) and 510 (loads) elements if the
# whole mask is true, at 740 and 950 if every second is: from here on numpy is the faster one in each.
MIN_ELEMENTS = 1024
MAX_SPAN = 2**40  # bytes between two elements; addresses farther apart are not of one allocation


def patch() -> None:
    """Replace the loads and stores of the interpreter; to be called once."""
    InterpreterBuilder.create_masked_load = _load(InterpreterBuilder.create_masked_load)
    InterpreterBuilder.create_masked_store = _store(InterpreterBuilder.create_masked_store)
    TritonSemantic._load_legacy = _load_by_plan(TritonSemantic._load_legacy)


def _load(plain: Callable[..., Any]) -> Callable[..., Any]:
    def load(self: Any, ptrs: TensorHandle, mask: TensorHandle, other: Any, *options: Any) -> TensorHandle:
        element = ptrs.get_element_ty()
        dtype = interpreter._get_np_dtype(element)
        if ptrs.data.size < MIN_ELEMENTS or (other is not None and other.data.dtype != dtype):
            return plain(self, ptrs, mask, other, *options)
        whole = mask.data.all()
        place = _place(ptrs.data if whole else ptrs.data[mask.data], dtype)
        if place is None:
            return plain(self, ptrs, mask, other, *options)
        memory, indices = place
        if whole:
            return TensorHandle(memory.take(indices), element)
        loaded = np.zeros(ptrs.data.shape, dtype) if other is None else np.array(other.data, order="C")
        loaded[mask.data] = memory[indices]
        return TensorHandle(loaded, element)

    return load


def _store(plain: Callable[..., Any]) -> Callable[..., Any]:
    def store(self: Any, ptrs: TensorHandle, value: TensorHandle, mask: TensorHandle, *options: Any) -> None:
        place = None
        if ptrs.data.size >= MIN_ELEMENTS and ptrs.data.shape == value.data.shape == mask.data.shape:
            place = _place(ptrs.data[mask.data], value.data.dtype)
        if place is None:
            return plain(self, ptrs, value, mask, *options)
        memory, indices = place
        memory[indices] = value.data[mask.data]
        return None

    return store


def _place(addresses: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray] | None:
    """The memory at these addresses as an array, and their indices there; None if they are misaligned or too far apart,
    or if there is none."""
    if not addresses.size:
        return None
    low = addresses.min()
    offsets = addresses - low
    span, size = int(offsets.max()), dtype.itemsize
    if span > MAX_SPAN or (size > 1 and (offsets & np.uint64(size - 1)).any()):
        return None
    memory = (ctypes.c_char * (span + size)).from_address(int(low))
    return np.frombuffer(memory, dtype), (offsets >> np.uint64(size.bit_length() - 1)).view(np.int64)


def _load_by_plan(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain``, which checks and broadcasts the types of pointers, mask and ``other`` only the first time."""
    plans: dict[tuple[Any, ...], Plan] = {}

    def load(self: TritonSemantic, ptr: tl.tensor, mask: Any, other: Any, *options: Any) -> tl.tensor:
        key = ptr.type.name, mask is not None and mask.type.name, other is not None and other.type.name
        plan = None if options[0] or options[1] else plans.get(key)
        if plan is None:
            result = plain(self, ptr, mask, other, *options)
            if ptr.type.is_block() and result.shape is ptr.shape and ptr.type.scalar.element_ty != tl.int1:
                plans[key] = Plan.of(np.array, result)
            return result
        if mask is None:
            return plan.tensor(self.builder.create_load(ptr.handle, *options[2:]).data)
        shape = ptr.handle.data.shape
        filled = None if other is None else _broadcast(self.cast(other, plan.dtype), shape)
        return plan.tensor(
            self.builder.create_masked_load(ptr.handle, _broadcast(mask, shape), filled, *options[2:]).data
        )

    return load


def _broadcast(tensor: tl.tensor, shape: tuple[int, ...]) -> TensorHandle:
    handle = tensor.handle
    if handle.data.shape == shape:
        return handle
    return TensorHandle(np.broadcast_to(handle.data, shape), handle.dtype)
