"""What a public wrapper asks of its arguments before it launches anything."""

from __future__ import annotations

import re
from functools import cache

import torch

from braidcheck.kernels.common import interpreter
from braidcheck.kernels.common.interpreter import INTERPRETED


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message``: a wrapper that cannot serve its arguments says so and names them."""
    if not condition:
        raise ValueError(message)


def check_shapes(declaration: str, **tensors: torch.Tensor | None) -> dict[str, int]:
    """The size of each axis that ``declaration`` names, for example ``"x[T,H] weight[H] residual[T,H]"``.

    An axis has one size in all tensors; a tensor that is None is not looked at. Raises ValueError that names the first
    tensor of another shape, and TypeError where the declaration is not of just these tensors.
    """
    declared = _declared(declaration)
    if declared.keys() != tensors.keys():
        raise TypeError(f"shapes are declared of {', '.join(declared)}, given are {', '.join(tensors)}")
    sizes: dict[str, int] = {}
    for name, axes in declared.items():
        tensor = tensors[name]
        if tensor is None:
            continue
        found = dict(zip(axes, tensor.shape, strict=False)) | sizes
        if tuple(tensor.shape) != tuple(found.get(axis) for axis in axes):
            wanted = ",".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
            raise ValueError(f"{name} must be [{wanted}], is {list(tensor.shape)}")
        sizes = found
    return sizes


@cache
def _declared(declaration: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(axes.split(",")) for name, axes in re.findall(r"(\w+)\[([\w,]+)\]", declaration)}


def require_same_device(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device that the kernels of this process can reach."""
    given = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(given.values())) > 1:
        raise ValueError(f"tensors lie on different devices: {given}")
    for name, device in given.items():
        if device.type != interpreter.DEVICE_TYPE:
            hint = "" if INTERPRETED else " (set TRITON_INTERPRET=1 before Python starts to run them on a CPU)"
            raise ValueError(
                f"{name} lies on {device.type}, but this process runs kernels on {interpreter.DEVICE_TYPE}{hint}"
            )


def require_contiguous_last_dim(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless the last axis of each given tensor is contiguous (stride 1)."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"{name}: the last axis must be contiguous, its stride is {tensor.stride(-1)}")
