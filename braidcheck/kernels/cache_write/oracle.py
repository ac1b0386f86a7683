"""Reference, bound and cost of ``cache_write``; the bound is zero, since a copy rounds nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.op import Case, Cost


def reference(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """Indexed assignment of the tokens whose row and slot are in the cache."""
    batch, capacity = k_cache.shape[:2]
    in_range = (rows >= 0) & (rows < batch) & (slots >= 0) & (slots < capacity)
    written = rows[in_range].long(), slots[in_range].long()
    k_cache[written], v_cache[written] = k[in_range], v[in_range]


def bound(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """A copy: no error at all."""
    return torch.zeros_like(k_cache, dtype=torch.float64), torch.zeros_like(v_cache, dtype=torch.float64)


def cost(case: Case) -> Cost:
    """K and V read and written."""
    return Cost(4 * case["T"] * case["Hkv"] * case["D"] * getattr(torch, case.dtype).itemsize, 0)
