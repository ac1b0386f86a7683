"""What a public wrapper asks of its arguments before it launches anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import torch

from braidcheck.kernels.common import interpreter
from braidcheck.kernels.common.interpreter import INTERPRETED


def check_shapes(declaration: str, **given: torch.Tensor | int | None) -> Mapping[str, int]:
    """The size of each axis that ``declaration`` names, for example ``"x[T,H] weight[N,H] bias[N]"``.

    An axis has one size in all tensors. An integer under an axis's name fixes its size: ``N=64``; a tensor that is None
    is not looked at. Raises ValueError that names the first tensor of another shape, and TypeError where the
    declaration is not of just these tensors.
    """
    shapes = tuple([getattr(value, "shape", value) for value in given.values()])
    return _axis_sizes(declaration, tuple(given), shapes)


@lru_cache(maxsize=1024)  # every layer has the same shapes, and a launch takes microseconds
def _axis_sizes(
    declaration: str, names: tuple[str, ...], shapes: tuple[torch.Size | int | None, ...]
) -> Mapping[str, int]:
    given = dict(zip(names, shapes, strict=True))
    sizes: dict[str, int] = {name: value for name, value in given.items() if isinstance(value, int)}
    declared = {name: axes.split(",") for name, axes in re.findall(r"(\w+)\[([\w,]+)\]", declaration)}
    if declared.keys() != given.keys() - sizes.keys():
        raise TypeError(f"shapes are declared of {', '.join(declared)}, given are {', '.join(names)}")
    for name, axes in declared.items():
        shape = given[name]
        if shape is None:
            continue
        found = dict(zip(axes, shape, strict=False)) | sizes
        if tuple(shape) != tuple(found.get(axis) for axis in axes):
            expected = ",".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
            raise ValueError(f"{name} must be [{expected}], is {list(shape)}")
        sizes = found
    return MappingProxyType(sizes)


def require_same_dtype(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors have one dtype."""
    dtypes = [tensor.dtype for tensor in tensors.values()]
    if dtypes.count(dtypes[0]) != len(dtypes):
        raise ValueError(f"{', '.join(tensors)} must have one dtype, are {', '.join(map(str, dtypes))}")


def require_same_device(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device that the kernels of this process can reach."""
    devices = {tensor.device for tensor in tensors.values() if tensor is not None}
    if len(devices) > 1:
        given = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
        raise ValueError(f"tensors lie on different devices: {given}")
    for device in devices:
        if device.type != interpreter.DEVICE_TYPE:
            name = next(name for name, tensor in tensors.items() if tensor is not None)
            hint = "" if INTERPRETED else " (set TRITON_INTERPRET=1 before Python starts to run them on a CPU)"
            raise ValueError(
                f"{name} lies on {device.type}, but this process runs kernels on {interpreter.DEVICE_TYPE}{hint}"
            )


def require_contiguous_last_dim(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless the last axis of each given tensor is contiguous (stride 1)."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.stride()[-1] != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"{name}: the last axis must be contiguous, its stride is {tensor.stride(-1)}")


def require_contiguous_heads(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless the heads of each tensor [T,heads,D] lie side by side; its rows may be strided."""
    for name, tensor in tensors.items():
        if tensor.stride()[1:] != (tensor.shape[2], 1):
            raise ValueError(
                f"the heads of {name} must be contiguous, strides [_,{tensor.shape[2]},1], are {list(tensor.stride())}"
            )


def require_contiguous_rows(**caches: torch.Tensor) -> None:
    """Raise ValueError unless each row of each cache [B,S,Hkv,D] is contiguous."""
    for name, cache in caches.items():
        if not cache.is_contiguous() and not cache[:1].is_contiguous():
            raise ValueError(f"each row of {name} must be contiguous, its strides are {list(cache.stride())}")


def require_rope_table(cos_sin: torch.Tensor) -> None:
    """Raise ValueError unless ``cos_sin`` is contiguous float32 of an even width."""
    if cos_sin.dtype != torch.float32 or not cos_sin.is_contiguous():
        raise ValueError(f"cos_sin must be contiguous float32, is {cos_sin.dtype}, strides {list(cos_sin.stride())}")
    if cos_sin.shape[1] % 2:
        raise ValueError(f"the head dimension must be even, is {cos_sin.shape[1]}")


def require_grouped_heads(num_heads: int, num_kv_heads: int) -> None:
    """Raise ValueError unless each KV head has the same number of query heads."""
    if not num_kv_heads or num_heads % num_kv_heads:
        raise ValueError(f"Hq must be a multiple of Hkv={num_kv_heads}, is {num_heads}")
