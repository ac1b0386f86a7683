"""Negative controls that ops share: each changes arguments of a case, so that the reference gives a wrong result."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from braidcheck.op import Inputs

__all__ = (
    "through_float16",
    "with_narrow_norm",
    "with_ones",
    "without",
    "without_last",
    "without_nan",
    "without_rotation",
    "without_subnormal",
)


def without(name: str, value: object = None) -> Callable[[Inputs], Inputs]:
    """A negative control: the argument ``name`` replaced by ``value``, where the case gives it."""
    return lambda inputs: inputs | {name: value} if name in inputs else inputs


def with_ones(*names: str) -> Callable[[Inputs], Inputs]:
    """A negative control: the weights ``names`` left out, that is, all ones."""
    return lambda inputs: inputs | {name: torch.ones_like(inputs[name]) for name in names if name in inputs}


def without_last(name: str, axis: int = -1) -> Callable[[Inputs], Inputs]:
    """A negative control: the last entry of ``name`` along ``axis`` read as zero, as by a dropped tail block."""

    def change(inputs: Inputs) -> Inputs:
        tensor = inputs[name].clone()
        if tensor.shape[axis]:
            tensor.select(axis, -1).zero_()
        return inputs | {name: tensor}

    return change


def _changed(names: tuple[str, ...], change: Callable[[Tensor], Tensor]) -> Callable[[Inputs], Inputs]:
    return lambda inputs: inputs | {name: change(inputs[name]) for name in names if inputs.get(name) is not None}


def without_nan(*names: str) -> Callable[[Inputs], Inputs]:
    """A negative control: NaN read as zero."""
    return _changed(names, lambda tensor: torch.where(tensor.isnan(), 0.0, tensor))


def without_subnormal(*names: str) -> Callable[[Inputs], Inputs]:
    """A negative control: numbers below the smallest normal one read as zero."""
    return _changed(names, lambda tensor: torch.where(tensor.abs() < torch.finfo(tensor.dtype).tiny, 0.0, tensor))


def through_float16(*names: str) -> Callable[[Inputs], Inputs]:
    """A negative control: tensors past float16's range stored in it and read back."""

    def change(tensor: Tensor) -> Tensor:
        past = (tensor.abs() > torch.finfo(torch.float16).max) & tensor.isfinite()
        return tensor.to(torch.float16).to(tensor.dtype) if past.any() else tensor

    return _changed(names, change)


def with_narrow_norm(*names: str) -> Callable[[Inputs], Inputs]:
    """A negative control: a mean of squares that was rounded to bfloat16, at its worst: the norm's result is 2**-9
    too large."""
    return _changed(names, lambda weight: weight.double() * (1 + 2**-9))


def without_rotation(inputs: Inputs) -> Inputs:
    """A negative control: every angle zero."""
    table = torch.zeros_like(inputs["cos_sin"])
    table[:, : table.shape[1] // 2] = 1
    return inputs | {"cos_sin": table}
