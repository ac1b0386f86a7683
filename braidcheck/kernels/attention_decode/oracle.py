"""Reference, bound and cost.

The bound is that of ``numerics.attention``. Combining the splits rescales partial sums by exponentials, which the score
error already covers, and adds a few roundings of the value, counted with the sum's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from braidcheck.numerics import attention
from braidcheck.op import Case, Cost


def _of_one_length(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """The rows of each length but 0, their q[N,Hkv,1,G,D], k[N,Hkv,S,D] and v, and mask[1,S]."""
    counts = lengths.clamp(0, k_cache.shape[1])
    grouped = q.unflatten(1, (k_cache.shape[2], q.shape[1] // k_cache.shape[2]))
    for count in filter(None, counts.unique().tolist()):
        rows = (counts == count).nonzero().flatten()
        k, v = (cache[rows, :count].transpose(1, 2) for cache in (k_cache, v_cache))
        yield rows, grouped[rows][:, :, None], k, v, torch.ones(1, count, dtype=torch.bool, device=q.device)


def reference(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Softmax attention over each row's own slots; zeros where there are none."""
    out = torch.zeros_like(q)
    for rows, query, k, v, mask in _of_one_length(q, k_cache, v_cache, lengths):
        out[rows] = attention.attend(query, k, v, scale, mask).flatten(1, 3)
    return out


def log_sum_exp(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """lse[B,Hq] of each row's scores, which other libraries return beside the output."""
    lse = q.new_full(q.shape[:2], -math.inf, dtype=torch.promote_types(q.dtype, torch.float32))
    for rows, query, k, _, mask in _of_one_length(q, k_cache, v_cache, lengths):
        lse[rows] = attention.log_sum_exp(query, k, scale, mask).flatten(1, 3)
    return lse


def bound(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> tuple[Tensor]:
    """See the module; a row without keys must be exactly zero."""
    error = torch.zeros_like(q, dtype=torch.float64)
    for rows, query, k, v, mask in _of_one_length(q.double(), k_cache.double(), v_cache.double(), lengths):
        error[rows] = attention.attend_bound(query, k, v, scale, mask, q.dtype).flatten(1, 3)
    return (error,)


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * case["Hq"])
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))
