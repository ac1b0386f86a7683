"""Observes one call: its effect on its inputs, where its outputs lie, and whether they are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.isolation.settings_kept import settings_kept
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import largest_error_ratio
from braidcheck.op import Inputs, Op

LIMIT = 1.0  # error ratio, as of the accuracy gate
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Outputs = tuple[Tensor, ...]


class ViolationError(Exception):
    """A forbidden side effect or a wrong result of a call; the message describes it."""


def observed(op: Op, call: Callable[..., Any], inputs: Inputs) -> Outputs:
    """The outputs of one call on ``inputs`` themselves. Raises ViolationError if an input changes that the contract
    does not name, or if an output shares memory with an input, another output or itself; LeftBehindError if the call
    changes settings of PyTorch.
    """
    before = copies(inputs)
    with poisoned_outputs(), settings_kept():
        outputs = run(op, call, inputs)
    if any(isinstance(value, Tensor) and value.is_cuda for value in inputs.values()):
        torch.cuda.synchronize()
    require_unchanged(op, before, inputs)
    _require_own_memory(op, inputs, outputs)
    return outputs


def require_unchanged(op: Op, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Raise ViolationError unless every input that the contract does not name as mutated has the bits of ``before``."""
    for name, value in before.items():
        if isinstance(value, Tensor) and name not in op.contract.written and not same_bits(value, inputs[name]):
            raise ViolationError(f"the call changes {name}, which the contract does not list as mutated")


def require_right(op: Op, inputs: Inputs, outputs: Outputs, when: str) -> None:
    """Raise ViolationError unless ``outputs`` are within the bound for ``inputs``, given as before the call."""
    exact = run(op, op.reference, in_float64(inputs))
    for name, value, truth, tolerance in zip(op.outputs, outputs, exact, op.bound(**inputs), strict=False):
        if value.shape != truth.shape:
            raise ViolationError(f"{when}, {name} has shape {list(value.shape)}, must have {list(truth.shape)}")
        if not (ratio := largest_error_ratio(value, truth, tolerance)) <= LIMIT:
            raise ViolationError(f"{when}, {name} is wrong: {ratio:.3g} times the bound")


def require_contiguous_rows(op: Op, outputs: Outputs, device: str) -> None:
    """Raise ViolationError if an output is on another device than the inputs, or if other ops would not accept its
    strides. There may be gaps between rows, as in parts of one tensor.
    """
    for name, value in zip(op.outputs, outputs, strict=False):
        if value.device.type != device:
            raise ViolationError(f"{name} is on {value.device}, the inputs are on {device}")
        if not value[:1].is_contiguous():
            raise ViolationError(f"rows of {name} are not contiguous, its strides are {list(value.stride())}")


def require_same(op: Op, first: Outputs, again: Outputs, when: str) -> None:
    """Raise ViolationError unless both have the same bits."""
    for name, one, other in zip(op.outputs, first, again, strict=False):
        if not same_bits(one, other):
            raise ViolationError(f"{name} has other bits {when}")


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape, dtype and bits."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    integers = INTEGERS[one.element_size()]
    return torch.equal(one.contiguous().view(integers), other.contiguous().view(integers))


class Held:
    """Results that a caller keeps during later calls."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.results: list[tuple[Outputs, Outputs]] = []

    def hold(self, outputs: Outputs) -> Outputs:
        """Record their bits. Raises ViolationError if they share memory with a result held earlier."""
        returned = _returned(self.op, outputs)
        for name, value in returned.items():
            for earlier, _ in self.results:
                if any(share_memory(value, other) for other in _returned(self.op, earlier).values()):
                    raise ViolationError(f"{name} shares memory with the result of an earlier call")
        bits = tuple(value.clone() for value in outputs)
        self.results.append((outputs, bits))
        return bits

    def require_kept(self) -> None:
        """Raise ViolationError if a result changed after it was returned."""
        for outputs, bits in self.results:
            require_same(self.op, bits, outputs, "after later calls than it had when it was returned")


def _returned(op: Op, outputs: Outputs) -> dict[str, Tensor]:
    """The outputs that the call allocated, by name; without those that are arguments."""
    count = len(outputs) - len(op.contract.mutates)
    return dict(zip(op.outputs, outputs[:count], strict=False))


def _require_own_memory(op: Op, inputs: Mapping[str, Any], outputs: Outputs) -> None:
    kept = {name: value for name, value in inputs.items() if name not in op.contract.overwrites}
    storages = {f"the input {name}": value for name, value in kept.items() if isinstance(value, Tensor)}
    for name, value in _returned(op, outputs).items():
        if not isinstance(value, Tensor):
            raise ViolationError(f"{name} is {type(value).__name__}, not a tensor")
        if value.numel() != len(set(addresses(value).tolist())):
            raise ViolationError(f"elements of {name} share memory, its strides are {list(value.stride())}")
        for other, memory in storages.items():
            if share_memory(value, memory):
                raise ViolationError(f"{name} shares memory with {other}")
        storages[name] = value


def share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether an element of one overlaps an element of the other."""
    if one.device != other.device or not one.numel() or not other.numel():
        return False
    (low, high), (other_low, other_high) = _span(one), _span(other)
    if high <= other_low or other_high <= low:
        return False
    if one.element_size() != other.element_size():
        return True
    return bool(torch.isin(addresses(one), addresses(other)).any())


def addresses(tensor: Tensor) -> Tensor:
    """The address of each element in bytes, int64 on the CPU, in the order of the elements."""
    place = torch.tensor([tensor.data_ptr()])
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        place = (place[:, None] + torch.arange(size) * stride * tensor.element_size()).flatten()
    return place


def _span(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
