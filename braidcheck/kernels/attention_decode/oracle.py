"""Reference, bound and cost.

The bound is that of ``numerics.attention``. Combining the splits rescales partial sums by exponentials, which the score
error already covers, and adds a few roundings of the value, counted with the sum's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from braidcheck.numerics import attention, rounding
from braidcheck.op import Case, Cost


def _per_row(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """q[1,G,D], k[S,D], v[S,D], mask[1,S] of each row and KV head, cut to the row's length."""
    for row, length in enumerate(lengths.tolist()):
        length = min(max(length, 0), k_cache.shape[1])
        k, v = k_cache[row, :length], v_cache[row, :length]
        grouped = q[row].unflatten(0, (k.shape[1], q.shape[1] // k.shape[1]))
        mask = torch.ones(1, length, dtype=torch.bool, device=q.device)
        for head in range(k.shape[1]):
            yield grouped[head][None], k[:, head], v[:, head], mask


def reference(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Softmax attention over each row's own slots; zeros where there are none."""
    parts = [attention.attend(*of_head[:3], scale, of_head[3])[0] for of_head in _per_row(q, k_cache, v_cache, lengths)]
    return torch.cat(parts).view(q.shape) if parts else q.clone()


def log_sum_exp(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """lse[B,Hq] of each row's scores, which other libraries return beside the output."""
    parts = [
        attention.log_sum_exp(qh, kh, scale, mask)[0] for qh, kh, _, mask in _per_row(q, k_cache, v_cache, lengths)
    ]
    return torch.cat(parts).view(q.shape[:2]) if parts else rounding.wide(q).sum(-1)


def bound(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> tuple[Tensor]:
    """See the module; a row without keys must be exactly zero."""
    rows = _per_row(q.double(), k_cache.double(), v_cache.double(), lengths)
    parts = [
        attention.attend_bound(qh, kh, vh, scale, mask, q.dtype)[0] if len(kh) else torch.zeros_like(qh[0])
        for qh, kh, vh, mask in rows
    ]
    return (torch.cat(parts).view(q.shape) if parts else q.double(),)


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * case["Hq"])
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))
