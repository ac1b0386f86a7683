"""What a function may not leave behind in its process: other settings of PyTorch, by which its caller computes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class LeftBehindError(Exception):
    """A function changed a setting of the whole process."""


@contextmanager
def settings_kept() -> Iterator[None]:
    """Raise LeftBehindError where what runs within leaves another setting of PyTorch, and put it back."""
    before = {name: read() for name, (read, _) in SETTINGS.items()}
    yield
    for name, (read, write) in SETTINGS.items():
        if (after := read()) != before[name]:
            write(before[name])
            raise LeftBehindError(f"{name} is left {after} for all that comes after, was {before[name]}")


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, torch.set_default_device),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.initial_seed()": (torch.initial_seed, torch.manual_seed),
    "torch's float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.are_deterministic_algorithms_enabled()": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
}
