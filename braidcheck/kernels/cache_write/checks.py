"""Contract checks of ``cache_write`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.op import Op


def check_places(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Nothing is written for a row or slot before or past the cache's."""
    inputs = case_inputs(op, device)
    tokens = {name: inputs[name][:3] for name in "kv"}
    batch, capacity = inputs["k_cache"].shape[:2]
    for row, slot in ((batch, 0), (-1, capacity - 1), (0, capacity), (1, -1), (batch, -1), (-1, capacity)):
        caches, expected = ({name: inputs[name].clone() for name in ("k_cache", "v_cache")} for _ in range(2))
        rows, slots = (torch.tensor(part, device=device) for part in ([0, row, 1], [2, slot, 4]))
        call(**tokens, **caches, rows=rows, slots=slots)
        kept = {name: part[::2] for name, part in tokens.items()}
        op.reference(**kept, **expected, rows=rows[::2], slots=slots[::2])
        if any(not torch.equal(caches[name].nan_to_num(7), expected[name].nan_to_num(7)) for name in expected):
            return f"a token for row {row}, slot {slot} of a cache [{batch}, {capacity}] is written"
    return None


CONTRACT_CHECKS = {
    "a place outside the cache is not written": check_places,
}
