"""Validation of a public wrapper's arguments before any launch: one declaration per op.

A wrapper names all of its arguments once, in the order of its signature, in an ``Arguments``. An argument that the
kernels do not support raises ValueError with its name. Values in device memory (positions, lengths, slots) are not
checked, since that would wait for the device: kernels mask them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from braidcheck.kernels.common import interpreter
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.specs import SizeSpec, Spec, TensorSpec

__all__ = "Arguments", "Extent"

MAX_AXIS = 2**30  # elements: the index of an axis, rounded up to a block, is int32
MAX_GRID = 65535  # programs on the second and third axis of a CUDA grid
MAX_TOKENS = 16 * MAX_GRID  # rows of x in tiles of 16 or more
MAX_ROW = 2**16  # elements of a row that one program keeps in registers
MAX_VOCABULARY = 2**24  # tokens: float32 counts no further
MAX_CALLS = 4096  # accepted calls in an op's cache: a model has a few for each layer

Sizes = Mapping[str, int]
Rule = Callable[[Sizes, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Extent:
    """Where a tensor lies from its first element on, in bytes: ``rows`` of ``row_bytes``, ``stride`` apart."""

    rows: int
    stride: int
    row_bytes: int

    @classmethod
    def of(cls, tensor: Tensor) -> Extent:
        """The extent of a tensor: a row is all of its axes but the first."""
        if not tensor.numel():
            return cls(0, 0, 0)
        span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True))
        return cls(len(tensor), tensor.stride(0) * tensor.element_size(), span * tensor.element_size())

    @property
    def end(self) -> int:
        """Bytes from the first row's beginning to the last row's end."""
        return (self.rows - 1) * self.stride + self.row_bytes if self.rows else 0

    def apart(self, other: Extent, distance: int) -> bool:
        """Whether no byte is shared with ``other``, which begins ``distance`` bytes later.

        Rows that alternate, as those of K and V of one cache do, are apart if both have the same stride.
        """
        if distance >= self.end or -distance >= other.end:
            return True
        if self.stride != other.stride or not self.stride:
            return False
        gap = distance % self.stride
        return gap >= self.row_bytes and self.stride - gap >= other.row_bytes


@dataclass(frozen=True)
class _Accepted:
    """An accepted call: its axes' sizes, and which tensors, by index, must not share memory."""

    sizes: Sizes
    extents: Mapping[int, Extent]
    pairs: tuple[tuple[int, int], ...]


class Arguments:
    """The arguments of one op.

    ``axes`` gives (minimum, maximum) of an axis, (0, MAX_AXIS) by default. ``derived`` axes follow from those that
    integers give. ``multiples``: an axis that must be a multiple of another or of a number. ``rules`` check what
    concerns several arguments, by shapes, dtypes and numbers only; they raise ValueError.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        axes: Mapping[str, tuple[int, int]] | None = None,
        derived: Mapping[str, Callable[[Sizes], int]] | None = None,
        multiples: Mapping[str, str | int] | None = None,
        rules: Sequence[Rule] = (),
    ) -> None:
        self.specs, self.rules = specs, rules
        self._axes, self._derived, self._multiples = axes or {}, derived or {}, multiples or {}
        self._tensors = {name: spec for name, spec in specs.items() if isinstance(spec, TensorSpec)}
        self._size_axes = {spec.axis: name for name, spec in specs.items() if isinstance(spec, SizeSpec)}
        self._accepted: dict[tuple[Any, ...], _Accepted] = {}

    def check(self, *values: Any) -> Sizes:
        """The sizes of all axes. Raises ValueError with the name of an argument that is not supported.

        A call with the shapes, dtypes, strides and numbers of an earlier one is only looked up: a launch takes
        microseconds.
        """
        try:
            key = (
                interpreter.DEVICE_TYPE,
                *[
                    (value.shape, value.dtype, value.stride(), value.device)
                    if isinstance(value, Tensor)
                    else (value.__class__, value)
                    for value in values
                ],
            )
            accepted = self._accepted.get(key)
        except (TypeError, RuntimeError):  # what has no hash, a tensor without strides: neither is accepted
            key, accepted = (), None
        if accepted is None:
            accepted = self._inspect(dict(zip(self.specs, values, strict=True)))
            if len(self._accepted) >= MAX_CALLS:
                self._accepted.clear()
            self._accepted[key] = accepted
        if accepted.pairs:
            self._require_apart(accepted, values)
        return accepted.sizes

    def _inspect(self, arguments: Mapping[str, Any]) -> _Accepted:
        for name, spec in self.specs.items():
            spec.check(name, arguments[name], arguments)
        _require_device({name: arguments[name] for name in self._tensors if arguments[name] is not None})
        sizes = self._sizes(arguments)
        for rule in self.rules:
            rule(sizes, arguments)
        return self._memory(sizes, arguments)

    def _sizes(self, arguments: Mapping[str, Any]) -> Sizes:
        sources = dict(self._size_axes)
        sizes: dict[str, int] = {axis: arguments[name] for axis, name in sources.items()}
        for axis, derive in self._derived.items():
            sizes[axis], sources[axis] = derive(sizes), ", ".join(self._size_axes.values())
        for name, spec in self._tensors.items():
            if arguments[name] is None:
                continue
            axes = spec.axes.split(",")
            all_sizes = dict(zip(axes, arguments[name].shape, strict=True)) | sizes
            if tuple(arguments[name].shape) != tuple(all_sizes[axis] for axis in axes):
                known = [axis for axis in axes if axis in sizes]
                expected = ",".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
                origin = ", ".join(f"{axis} of {sources[axis]}" for axis in known)
                raise ValueError(f"{name} must be [{expected}] ({origin}), is {list(arguments[name].shape)}")
            sources |= {axis: name for axis in axes if axis not in sizes}
            sizes = all_sizes
        self._check_ranges(sizes, sources)
        return MappingProxyType(sizes)

    def _check_ranges(self, sizes: Sizes, sources: Mapping[str, str]) -> None:
        for axis, size in sizes.items():
            minimum, maximum = self._axes.get(axis, (0, MAX_AXIS))
            if not minimum <= size <= maximum:
                raise ValueError(f"{axis} of {sources[axis]} must be from {minimum} to {maximum}, is {size}")
        for axis, factor in self._multiples.items():
            divisor = sizes[factor] if isinstance(factor, str) else factor
            if sizes[axis] % divisor:
                called = f"{factor}={divisor} of {sources[factor]}" if isinstance(factor, str) else str(divisor)
                raise ValueError(f"{axis} of {sources[axis]} must be a multiple of {called}, is {sizes[axis]}")

    def _memory(self, sizes: Sizes, arguments: Mapping[str, Any]) -> _Accepted:
        names = list(self.specs)
        extents = {
            names.index(name): Extent.of(arguments[name])
            for name in self._tensors
            if isinstance(arguments[name], Tensor)
        }
        written = [index for index in extents if self._tensors[names[index]].written]
        pairs = [(one, other) for one in written for other in extents if one != other]
        return _Accepted(sizes, extents, tuple(pair for pair in pairs if pair[::-1] not in pairs or pair[0] < pair[1]))

    def _require_apart(self, accepted: _Accepted, tensors: Sequence[Any]) -> None:
        extents = accepted.extents
        starts = {index: tensors[index].data_ptr() for index in extents}
        for one, other in accepted.pairs:
            distance = starts[other] - starts[one]
            if distance >= extents[one].end or -distance >= extents[other].end or not starts[one]:
                continue  # a tensor that takes no memory lies at 0
            if not extents[one].apart(extents[other], distance) and not self._is_same(one, other, distance, tensors):
                names = list(self.specs)
                raise ValueError(f"{names[one]} is written: it must not share memory with {names[other]}")

    def _is_same(self, one: int, other: int, distance: int, tensors: Sequence[Any]) -> bool:
        names, (a, b) = list(self.specs), (tensors[one], tensors[other])
        permitted = names[other] in self._tensors[names[one]].may_be
        return permitted and not distance and (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


def _require_device(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless all lie on one device that the kernels of this process can reach."""
    if len({tensor.device for tensor in tensors.values()}) > 1:
        raise ValueError(f"tensors are on different devices: { {name: str(t.device) for name, t in tensors.items()} }")
    for name, tensor in tensors.items():
        if tensor.device.type != interpreter.DEVICE_TYPE:
            hint = "" if INTERPRETED else " (set TRITON_INTERPRET=1 before Python starts to run them on a CPU)"
            raise ValueError(
                f"{name} is on {tensor.device.type}, but this process runs kernels on {interpreter.DEVICE_TYPE}{hint}"
            )
