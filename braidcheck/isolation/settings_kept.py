"""Checks that a function does not change global settings of PyTorch, which would affect its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class LeftBehindError(Exception):
    """A function changed a global setting."""


@contextmanager
def settings_kept() -> Iterator[None]:
    """A context that raises LeftBehindError if a setting of PyTorch changes in it, and restores the setting."""
    before = {name: read() for name, (read, _) in SETTINGS.items()}
    yield
    for name, (read, write) in SETTINGS.items():
        if (after := read()) != before[name]:
            write(before[name])
            raise LeftBehindError(f"the function changes {name} to {after} and does not restore {before[name]}")


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
