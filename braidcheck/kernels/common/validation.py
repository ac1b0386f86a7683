"""What a public wrapper asks of its arguments before it launches anything."""

from __future__ import annotations

import torch

from braidcheck.kernels.common import interpreter
from braidcheck.kernels.common.interpreter import INTERPRETED


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message``: a wrapper that cannot serve its arguments says so and names them."""
    if not condition:
        raise ValueError(message)


def require_same_device(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device that the kernels of this process can reach."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    require(len(set(devices.values())) <= 1, f"tensors lie on different devices: {devices}")
    for name, device in devices.items():
        require(
            device.type == interpreter.DEVICE_TYPE,
            f"{name} lies on {device.type}, but this process runs kernels on {interpreter.DEVICE_TYPE}"
            + ("" if INTERPRETED else " (set TRITON_INTERPRET=1 before Python starts to run them on a CPU)"),
        )


def require_contiguous_last_dim(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless the last axis of each given tensor is contiguous (stride 1)."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape[-1] > 1:
            require(
                tensor.stride(-1) == 1, f"{name}: the last axis must be contiguous, its stride is {tensor.stride(-1)}"
            )
