"""Contract checks of ``qk_norm_rope`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.op import Op


def check_safe_k_scale(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """``safe_k_scale``, which lies beside the wrapper, by the largest K norm weight."""
    safe_k_scale = inspect.unwrap(call).__globals__["safe_k_scale"]
    for peak, expected in ((1.0, 1.0), (96.5, 1.0), (100.0, 1.0), (400.0, 0.25), (8192.0, 2.0**-7)):
        if (scale := safe_k_scale(torch.tensor([1.0, -peak], device=device))) != expected:
            return f"a K norm weight of {peak:g} gets the scale {scale:g}, must get {expected:g}"
    return None


def check_k_scale_refused(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """A scale that is no power of two raises ValueError."""
    try:
        call(**case_inputs(op, device) | {"k_scale": 0.3})
    except ValueError:
        return None
    return "k_scale 0.3 is not refused"


CONTRACT_CHECKS = {
    "the safe scale is a power of two that keeps K small": check_safe_k_scale,
    "a scale that rounds is refused": check_k_scale_refused,
}
