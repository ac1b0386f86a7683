"""Changes of one argument of a call: shape, dtype, strides, entries, number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

Change = Callable[[Any], Any]  # of a fresh copy
DTYPES = (torch.float64, torch.float8_e4m3fn, torch.complex64, torch.int16, torch.int32, torch.float16)
MORE_DTYPES = (torch.float32, torch.bfloat16, torch.int64)
BETWEEN = 1 + 2.0**-10  # 1 times it is a float16, and no bfloat16
INDEX_VALUES = (-1, -1000, 3, 2**32)  # the last is 0 in 32 bits
MORE_INDEX_VALUES = (-7, 2**20, 2**31 - 1, -(2**31), 2**32 + 1, -(2**32) + 1, 2**62)
VALUES = {
    "negative": -1, "zero": 0, "NaN": float("nan"), "infinite": float("inf"), "minus infinity": float("-inf"),
    "past float32": 1e300, "below float32": 1e-300, "huge": 2**70, "a bool": True, "missing": None, "a text": "other",
    "a tensor": torch.tensor(1.0), "a dtype": torch.float64, "an integer dtype": torch.int32,
}  # fmt: skip


def named_changes(value: Any, thorough: bool) -> Iterator[tuple[str, Change]]:
    """The changes of one argument. ``thorough`` includes changes that ops accept, for which a GPU compiles kernels
    again."""
    if isinstance(value, Tensor):
        yield from _shapes(value, thorough)
        yield from _dtypes(value, thorough)
        yield from _strides(value, thorough)
        yield from _values(value, thorough)
        yield from {"missing": _none, "a list": Tensor.tolist, "on no device": _on_meta, "sparse": _sparse}.items()
    elif isinstance(value, int | float | str | torch.dtype) or value is None:
        values = dict(VALUES)
        if isinstance(value, int):
            values |= {"one more": value + 1, "one less": value - 1, "a float": float(value)}
        elif isinstance(value, float):
            values |= {"a 64th": value / 64, "64 times": value * 64}
        yield from ((kind, partial(_other, other=other)) for kind, other in values.items())


def _shapes(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for axis, size in enumerate(value.shape):
        yield f"axis {axis} longer", partial(_longer, axis=axis)
        yield f"axis {axis} shorter", partial(_cut, axis=axis, size=size - 1)
        yield f"axis {axis} empty", partial(_cut, axis=axis, size=0)
        if thorough:
            yield f"axis {axis} of one", partial(_cut, axis=axis, size=1)
    yield "one axis more", partial(torch.unsqueeze, dim=0)
    yield "one axis less", partial(torch.select, dim=0, index=0)
    if thorough:  # an op that accepted it would fill the memory
        yield "huge", _huge


def _dtypes(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for dtype in DTYPES + MORE_DTYPES * thorough:
        if dtype != value.dtype:
            yield f"{dtype}", partial(_cast, dtype=dtype)


def _strides(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for axis in range(value.dim()):
        yield f"axis {axis} of stride 2", partial(_stepped, axis=axis)
        if thorough or not axis:
            yield f"axis {axis} expanded", partial(_expanded, axis=axis)
    if value.dim() > 1:
        yield "transposed", partial(_transposed, one=0, other=-1)
        yield "inner axes transposed", partial(_transposed, one=-2, other=-1)
    if thorough:
        yield "one element further", _shifted


def _values(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for number in () if value.is_floating_point() else INDEX_VALUES + MORE_INDEX_VALUES * thorough:
        # Two rows of the same slot or place would race for it.
        fits = torch.iinfo(value.dtype).min <= number <= torch.iinfo(value.dtype).max
        if fits and not bool((value == number).any()):
            for index in (0,) if number < 2**31 else (0, -1):
                yield f"{number} at {index}", partial(with_entry, index=index, number=number)


def _none(_: Any) -> None:
    return None


def _other(_: Any, other: Any) -> Any:
    return other


def _on_meta(x: Tensor) -> Tensor:
    return x.to("meta")


def _sparse(x: Tensor) -> Tensor:
    return x.to_sparse()


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of ``dtype``, for floats ones that the original type cannot represent: casting back shows."""
    finite = x.nan_to_num(0.5)
    return (finite.double() * BETWEEN).to(dtype) if x.is_floating_point() else finite.to(dtype)


def _longer(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x, x.narrow(axis, 0, 1)], axis)


def _cut(x: Tensor, axis: int, size: int) -> Tensor:
    return x.narrow(axis, 0, size).contiguous()


def _huge(x: Tensor) -> Tensor:
    return x[:1].expand(2**31, *x.shape[1:])


def _stepped(x: Tensor, axis: int) -> Tensor:
    """x in every second element along ``axis``; the gaps hold 1e3, which is plausible and wrong."""
    between = torch.full_like(x, 1e3) if x.is_floating_point() else x + 1
    return torch.stack([x, between], axis + 1).select(axis + 1, 0)


def _expanded(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, 1).expand(x.shape)


def _transposed(x: Tensor, one: int, other: int) -> Tensor:
    return x.transpose(one, other).contiguous().transpose(one, other)


def _shifted(x: Tensor) -> Tensor:
    return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


def with_entry(x: Tensor, index: int, number: int) -> Tensor:
    """x with another number at ``index`` of its first axis."""
    if len(x):
        x[index] = number
    return x
