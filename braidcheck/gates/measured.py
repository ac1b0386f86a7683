"""Tests of whether a value is a measurement or a count: a missing value, or one that is not a number, is neither."""

from __future__ import annotations

import math


def positive(value: object) -> float:
    """A finite number above 0, or 0 for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    return 0.0


def counted(value: object) -> bool:
    """Whether this is a count, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
