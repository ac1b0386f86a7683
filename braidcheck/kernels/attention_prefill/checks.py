"""Contract checks of ``attention_prefill`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from braidcheck.numerics.error import error_ratios
from braidcheck.op import Op

FAR = 2**16  # rows: their number does not fit into 16 bits
LENGTH, LAST = 64, 20  # rows of each sequence, and of the last one
DIM = 16


def check_far_sequence(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The last of many packed sequences, whose reference alone is small, far behind the first."""
    if "cu_seqlens" not in inspect.signature(call).parameters:
        return None
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(FAR + LAST, 1, DIM, generator=generator).to(device) for _ in range(3))
    starts = torch.tensor([*range(0, FAR + 1, LENGTH), FAR + LAST], dtype=torch.int32, device=device)
    scale = DIM**-0.5
    got = call(q, k, v, scale, cu_seqlens=starts)[-LAST:]
    alone = [part[-LAST:].contiguous() for part in (q, k, v)]
    exact = op.reference(*(part.double() for part in alone), scale)
    (worst,) = (float(error_ratios(got, exact, bound).max()) for bound in op.bound(*alone, scale))
    if worst <= 1:
        return None
    return f"a sequence that begins at row {FAR} is wrong by {worst:.3g} times its bound"


CONTRACT_CHECKS = {"a sequence far behind others is as it is alone": check_far_sequence}
