"""Triton's interpreter as this package runs it: it has what kernels use on a GPU, and gives the same numbers faster.

Importing this module patches the interpreter of a process that interprets (``TRITON_INTERPRET=1``); on a GPU it does
nothing. Every op imports it, so no kernel runs unpatched.

Without ``speed_up`` most of the time goes into Python: types and shapes that are made again for each operation.
What it replaces does not depend on the values that a kernel computes: same bits, same refusals.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Sequence
from functools import cache, wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorDescHandle, TensorHandle

from braidcheck.kernels.common import (
    interpreter_bfloat16,
    interpreter_language,
    interpreter_libdevice,
    interpreter_memory,
    interpreter_operators,
    interpreter_semantic,
)

INTERPRETED: bool = triton.knobs.runtime.interpret
Part = tuple[slice, ...]  # of a tensor
DEVICE_TYPE = "cpu" if INTERPRETED else "cuda"  # the type of the devices on which this process runs kernels


def speed_up() -> None:
    """Cache what the interpreter computes repeatedly with the same result; call once per process."""
    _without_overflow_checks()
    _ask_types_first()
    _patch_language_once()
    _remember_types()
    _remember_shapes()
    _copy_tiles()
    interpreter_operators.patch()
    interpreter_semantic.patch()
    interpreter_memory.patch()


def _without_overflow_checks() -> None:
    """Compute no overflow conditions: without ``debug`` the interpreter drops them unread."""
    if not interpreter.interpreter_builder.options.debug:
        interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)


def _patch_language_once() -> None:
    """Patch Triton's language now, not at each launch and each call of a device function."""
    interpreter._patch_attr = _give_semantic
    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    nothing = interpreter._LangPatchScope()  # what a launch puts back when it ends
    interpreter._patch_lang = lambda function: nothing
    interpreter.InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(*args, **kwargs)


def _give_semantic(owner: Any, name: str, member: Any, builder: Any, scope: Any) -> None:
    """Call the function that ``member`` wraps with the interpreter's semantic layer, without the wrapper that checks
    whether one was passed."""
    plain, semantic = inspect.unwrap(member), interpreter.interpreter_semantic

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs["_semantic"] = semantic
        return plain(*args, **kwargs)

    scope.set_attr(owner, name, call)


def _ask_types_first() -> None:
    """Return a value that is not wrapped, and the equality of a type with itself, without further checks."""
    plain_unwrap, plain_equal = tl.core._unwrap_if_constexpr, tl.dtype.__eq__
    bare = {tl.tensor, tl.dtype, tl.block_type, int, float, bool, str, type(None)}

    def unwrap(value: Any) -> Any:
        kind = type(value)
        if kind in bare:
            return value
        return value.value if kind is tl.constexpr else plain_unwrap(value)

    tl.core._unwrap_if_constexpr = unwrap
    tl.dtype.__eq__ = lambda self, other: self is other or plain_equal(self, other)


def _remember_types() -> None:
    """Look up numpy's types, and the constexprs of a shape, instead of making them for each tensor."""
    plain, known = interpreter._get_np_dtype, {}

    def find(type: tl.dtype) -> np.dtype:
        name = type.scalar.name
        if name not in known:
            known[name] = plain(type.scalar)
        return known[name]

    interpreter._get_np_dtype = find


def _remember_shapes() -> None:
    """Check each shape and make its constexprs once: block types of one shape, and their tensors, share them."""
    unwrap = tl.core._unwrap_if_constexpr

    @cache
    def of_tensors(sizes: tuple[int, ...], numel: int) -> tuple[tl.constexpr, tl.core.tuple]:
        return tl.constexpr(numel), tl.core.tuple([tl.constexpr(size) for size in sizes])

    def init_type(self: tl.block_type, element: tl.dtype, shape: Sequence[Any]) -> None:
        sizes = tuple([size if type(size) is int else unwrap(size) for size in shape])
        key = element.name, sizes
        if key not in types:
            plain_type(self, element, list(sizes))
            self.of_tensors = of_tensors(sizes, self.numel)
            types[key] = self.__dict__
        self.__dict__ = types[key]

    def init_tensor(self: tl.tensor, handle: TensorHandle, type: tl.dtype) -> None:
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = type.of_tensors if type.is_block() else scalar

    def broadcast(self: Any, left: tl.tensor, right: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
        return (left, right) if left.shape is right.shape else plain_broadcast(self, left, right)

    types: dict[tuple[str, tuple[int, ...]], dict[str, object]] = {}
    plain_type, plain_broadcast = tl.block_type.__init__, TritonSemantic.broadcast_impl_value
    scalar = tl.constexpr(1), tl.core.tuple([])
    tl.block_type.__init__ = init_type
    tl.tensor.__init__ = init_tensor
    TritonSemantic.broadcast_impl_value = broadcast


def _copy_tiles() -> None:
    """Read and write a descriptor's tile as the part of a matrix, not by an address and a mask for each element."""
    plain_load, plain_store = InterpreterBuilder.create_descriptor_load, InterpreterBuilder.create_descriptor_store

    def load(self: Any, desc: TensorDescHandle, indices: list[TensorHandle], *options: Any) -> TensorHandle:
        if desc.padding != interpreter._ir.PADDING_OPTION.PAD_ZERO:
            return plain_load(self, desc, indices, *options)
        matrix, inside, part = _tile(desc, indices)
        tile = np.zeros(desc.block_shape, dtype=matrix.dtype)
        tile[part] = matrix[inside]
        return TensorHandle(tile, desc.base.dtype.element_ty)

    def store(self: Any, desc: TensorDescHandle, value: TensorHandle, indices: list[TensorHandle]) -> None:
        matrix, inside, part = _tile(desc, indices)
        if value.data.dtype != matrix.dtype:
            return plain_store(self, desc, value, indices)
        matrix[inside] = value.data[part]
        return None

    InterpreterBuilder.create_descriptor_load = load
    InterpreterBuilder.create_descriptor_store = store


def _tile(desc: TensorDescHandle, indices: list[TensorHandle]) -> tuple[np.ndarray, Part, Part]:
    """A descriptor's matrix, the part of it that a tile covers, and the part of the tile that lies in the matrix."""
    matrix = _matrix(desc)
    inside, part = [], []
    for size, block, index in zip(matrix.shape, desc.block_shape, indices, strict=True):
        start = int(index.data.item())
        low, high = min(max(start, 0), size), max(min(start + block, size), 0)
        inside.append(slice(low, max(low, high)))
        part.append(slice(low - start, max(low, high) - start) if low < high else slice(0, 0))
    assert start * matrix.itemsize % 16 == 0, "block offset start must be 16-byte aligned"
    return matrix, tuple(inside), tuple(part)


def _matrix(desc: TensorDescHandle) -> np.ndarray:
    """The memory behind a descriptor, made once for each."""
    if not hasattr(desc, "matrix"):
        dtype = interpreter._get_np_dtype(desc.base.dtype.element_ty)
        shape = [int(size.data.item()) for size in desc.shape]
        strides = [int(stride.data.item()) * dtype.itemsize for stride in desc.strides]
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        memory = (ctypes.c_char * (last + dtype.itemsize if all(shape) else 0)).from_address(desc.base.data.item())
        desc.matrix = np.ndarray(shape, dtype, memory, strides=strides)
    return desc.matrix


if INTERPRETED:
    interpreter_bfloat16.patch()
    interpreter_language.patch()
    interpreter_libdevice.patch()
    speed_up()
