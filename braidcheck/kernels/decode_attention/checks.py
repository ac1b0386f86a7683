"""Contract checks of ``decode_attention`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.op import Op


def check_no_slot(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The middle one of three rows at a position past a table shorter than the cache, past the cache, and below 0."""
    inputs = case_inputs(op, device)
    capacity = inputs["k_cache"].shape[1]
    longer = torch.cat([inputs["cos_sin"]] * 2)
    for outside, limit in ((capacity // 2, capacity // 2), (capacity, 2 * capacity), (-1, capacity)):
        positions = inputs["positions"].clamp_max(capacity // 2 - 1)
        positions[1] = outside
        caches = {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
        out = call(**inputs | caches | {"positions": positions, "cos_sin": longer[:limit]})
        if not out[1].isnan().all():
            return f"position {outside} of a table of {limit} and a cache of {capacity} gives no NaN"
        for name, cache in caches.items():
            changed = (cache != inputs[name].nan_to_num(0.5)).any(dim=(2, 3))
            allowed = torch.zeros_like(changed)
            allowed[[0, 2], positions[[0, 2]]] = True
            if (changed & ~allowed).any():
                return f"{name} is written at position {outside} of a table of {limit} and a cache of {capacity}"
    return None


def check_split_counter(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """A second step with the same counter gives the same bits."""
    inputs = case_inputs(op, device)
    split_counter = torch.zeros(inputs["k"].shape[:2], dtype=torch.int32, device=device)
    first = call(**inputs, split_counter=split_counter)
    if split_counter.any():
        return f"the split counter is left {split_counter.flatten().tolist()}"
    same = torch.equal(call(**inputs, split_counter=split_counter), first)
    return None if same else "the second of two equal steps differs"


CONTRACT_CHECKS = {
    "a token at no slot gives NaN and is not written": check_no_slot,
    "the split counter is left zero, as the next step needs it": check_split_counter,
}
