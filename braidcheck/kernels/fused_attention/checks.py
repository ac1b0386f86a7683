"""Contract checks of ``fused_attention`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.op import Op


def check_slots(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Decode with an empty row and one longer than the cache: zeros for the first, nothing written for both."""
    return _slots(op, call, device, 0) or _slots(op, call, device, -1)  # which Python counts from the end


def _slots(op: Op, call: Callable[..., Any], device: str, length: int) -> str | None:
    case = next(case for case in op.cases if case["T"] == case["B"] > 2 and not case.get("raw"))
    inputs = op.inputs(case, device)
    capacity = inputs["k_cache"].shape[1]
    lengths = inputs["lengths"].clone()
    lengths[0], lengths[1] = length, capacity + 1
    caches, expected = ({name: inputs[name].clone() for name in ("k_cache", "v_cache")} for _ in range(2))
    out = call(**inputs | caches | {"lengths": lengths})
    full = call(**inputs | expected)
    for name in expected:
        kept, changed = inputs[name][:2].nan_to_num(7), caches[name]
        if not torch.equal(changed[:2].nan_to_num(7), kept):
            return f"{name} is written for a slot outside it"
        if not torch.equal(changed[2:].nan_to_num(7), expected[name][2:].nan_to_num(7)):
            return f"{name} of another row changes with a slot outside it"
    if not torch.equal(out[0], torch.zeros_like(out[0])) or not torch.equal(out[2:], full[2:]):
        return f"a row of length {length} does not give zeros, or changes its neighbours"
    return None


CONTRACT_CHECKS = {
    "a slot outside the cache is not written": check_slots,
}
