"""What counts as a measurement: what is not there, or is no number above 0, measures nothing."""

from __future__ import annotations

import math


def positive(value: object) -> float:
    """A finite number above 0, or 0 for anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if good else 0.0
