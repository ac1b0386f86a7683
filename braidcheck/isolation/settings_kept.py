"""What a function may not leave behind in its process: other settings of PyTorch, by which its caller computes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class LeftBehindError(Exception):
    """A function changed a setting of the whole process."""


@contextmanager
def settings_kept() -> Iterator[None]:
    """Raise LeftBehindError where what runs within leaves another setting of PyTorch."""
    before = _settings()
    yield
    after = _settings()
    if changed := [name for name, value in before.items() if value != after[name]]:
        name = changed[0]
        raise LeftBehindError(f"{name} is left {after[name]} for all that comes after, was {before[name]}")


def _settings() -> dict[str, object]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.initial_seed()": torch.initial_seed(),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
    }
