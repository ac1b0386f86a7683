"""Specs of a public wrapper's arguments: a tensor, a number, the size of an axis, or one of some values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor

__all__ = "FLOATS", "INDICES", "ChoiceSpec", "NumberSpec", "SizeSpec", "TensorSpec", "size"

FLOATS = torch.float32, torch.bfloat16, torch.float16
INDICES = torch.int32, torch.int64
MAX_INT = 2**63 - 1  # an integer is handed to kernels as it is
MIN_NORMAL, FLOAT32_MAX = 2.0**-126, 2.0**127  # powers of two: the largest float32 is not exact in messages


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of these named axes.

    ``dtypes`` are dtypes, or names of arguments whose dtype it may have. The last ``contiguous`` axes lie side by side
    in memory; an axis before them may have any stride. ``written``: the call writes into it, so its elements must not
    share memory with each other or with another argument; but it may be the same tensor as one named in ``may_be``.
    """

    axes: str
    dtypes: tuple[torch.dtype | str, ...] = FLOATS
    contiguous: int = 1
    optional: bool = False
    written: bool = False
    may_be: tuple[str, ...] = ()

    def check(self, name: str, value: Any, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError unless ``value`` is such a tensor; ``Arguments`` checks the sizes of the axes."""
        if value is None and self.optional:
            return
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            kind = f"a {value.layout} one" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a dense tensor, is {kind}")
        self._check_dtype(name, value, arguments)
        if value.dim() != len(self.axes.split(",")):
            raise ValueError(f"{name} must be [{self.axes}], is {list(value.shape)}")
        self._check_strides(name, value)

    def _check_dtype(self, name: str, value: Tensor, arguments: Mapping[str, Any]) -> None:
        permitted: dict[torch.dtype, str] = {}
        for choice in self.dtypes:
            source = arguments[choice] if isinstance(choice, str) else choice
            dtype = source.dtype if isinstance(source, Tensor) else source
            if not isinstance(dtype, torch.dtype):  # not given, or wrong itself
                permitted = {dtype: str(dtype) for dtype in FLOATS}
                break
            permitted[dtype] = f"{dtype} as {choice}" if isinstance(choice, str) else str(dtype)
        if value.dtype not in permitted:
            raise ValueError(f"{name} must be {' or '.join(permitted.values())}, is {value.dtype}")

    def _check_strides(self, name: str, value: Tensor) -> None:
        shape, strides = value.shape, value.stride()
        if not value.numel():
            return
        dense = list(accumulate(reversed(shape), mul, initial=1))  # strides of contiguous axes, the last axis first
        for axis in range(1, self.contiguous + 1):
            if shape[-axis] > 1 and strides[-axis] != dense[axis - 1]:
                axes = "the last axis" if self.contiguous == 1 else f"the last {self.contiguous} axes"
                raise ValueError(f"{name}: {axes} must be contiguous, its strides are {list(strides)}")
        if self.written and len(shape) > self.contiguous and shape[0] > 1 and strides[0] < dense[self.contiguous]:
            raise ValueError(f"{name} is written: its rows must not overlap, its strides are {list(strides)}")


@dataclass(frozen=True)
class NumberSpec:
    """A Python number from ``low`` to ``high``, an integer if ``whole``."""

    low: float
    high: float
    whole: bool = False

    def check(self, name: str, value: Any, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError unless ``value`` is such a number: no tensor, no bool, no NaN."""
        kinds, kind = (int, "an integer") if self.whole else ((int, float), "a number")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name} must be {kind}, is {type(value).__name__}")
        if not self.low <= value <= self.high or (isinstance(value, int) and abs(value) > MAX_INT):
            low, high = (f"{bound}" if self.whole else f"{bound:.3g}" for bound in (self.low, self.high))
            raise ValueError(f"{name} must be from {low} to {high}, is {value}")


@dataclass(frozen=True)
class SizeSpec(NumberSpec):
    """A Python integer from 1 on that is the size of ``axis``."""

    axis: str = ""


@dataclass(frozen=True)
class ChoiceSpec:
    """One of these values."""

    choices: tuple[Any, ...]

    def check(self, name: str, value: Any, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError unless ``value`` is one of the choices."""
        if isinstance(value, Tensor) or value not in self.choices:
            expected = " or ".join(repr(choice) for choice in self.choices)
            raise ValueError(f"{name} must be {expected}, is {value if isinstance(value, Tensor) else repr(value)}")


Spec = TensorSpec | NumberSpec | ChoiceSpec


def size(axis: str) -> SizeSpec:
    """A Python integer that is the size of ``axis``."""
    return SizeSpec(1, 2**15, whole=True, axis=axis)


EPS = NumberSpec(MIN_NORMAL, FLOAT32_MAX)  # a subnormal eps may be flushed to 0, and a row of zeros would give NaN
SCALE = NumberSpec(MIN_NORMAL, FLOAT32_MAX / 2)  # times log2(e) it fits in float32; 0 times a masked score is NaN
