"""Other values for arguments that are the same in all cases of an op: eps, a scale, the RoPE table. A function that
hard-codes them, or caches them at its first call, is right on all cases and wrong for the next model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.op import Inputs

MIN_VISIBLE = 2.0**-10  # half of a smaller number, such as eps, changes no output
VISIBLE = 0.25


def with_other_numbers(inputs: Inputs, drawn_again: Inputs) -> Inputs:
    """``inputs`` with each number halved, and with tables reversed that are the same for every seed."""
    return {name: _other(value, drawn_again[name]) for name, value in inputs.items()}


def _other(value: Any, again: Any) -> Any:
    if isinstance(value, float):  # powers of two stay powers of two
        return value / 2 if value >= MIN_VISIBLE else VISIBLE
    if isinstance(value, Tensor) and value.is_floating_point() and torch.equal(value, again):
        return value.flip(0)
    return value
