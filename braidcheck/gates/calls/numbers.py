"""Other numbers for what every case of an op gives alike: eps, a scale, a table of angles.

A function that knows them by heart, or from its first call, is right on all cases and wrong for the next model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.op import Inputs

MIN_VISIBLE = 2.0**-10  # half of a smaller number, such as eps, changes no answer
VISIBLE = 0.25


def with_other_numbers(inputs: Inputs, drawn_again: Inputs) -> Inputs:
    """``inputs`` with half of each number, and with those tables backwards that another seed gives alike."""
    return {name: _other(value, drawn_again[name]) for name, value in inputs.items()}


def _other(value: Any, again: Any) -> Any:
    if isinstance(value, float):  # a power of two stays one
        return value / 2 if value >= MIN_VISIBLE else VISIBLE
    if isinstance(value, Tensor) and value.is_floating_point() and torch.equal(value, again):
        return value.flip(0)
    return value
