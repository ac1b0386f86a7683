"""Contract checks of ``attention_decode`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.op import Inputs, Op


def check_lengths(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Lengths of 0, and of more than the cache's capacity."""
    inputs = case_inputs(op, device, min_rows=2)
    capacity = inputs["k_cache"].shape[1]
    full = inputs | {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
    lengths = torch.full_like(inputs["lengths"], capacity)
    expected = call(**full | {"lengths": lengths})
    if not torch.equal(call(**full | {"lengths": lengths + 3}), expected):
        return "a length past the cache's end reads past it"
    return _zeros(call, inputs, 0)


def check_negative_lengths(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Lengths below 0, which Python counts from the end."""
    return _zeros(call, case_inputs(op, device, min_rows=2), -1)


def _zeros(call: Callable[..., Any], inputs: Inputs, length: int) -> str | None:
    zeros = call(**inputs | {"lengths": torch.full_like(inputs["lengths"], length)})
    return None if torch.equal(zeros, torch.zeros_like(zeros)) else f"rows of length {length} do not give zeros"


CONTRACT_CHECKS = {
    "rows without keys give zeros, rows past the cache stop at its end": check_lengths,
    "a length below 0 gives zeros": check_negative_lengths,
}
