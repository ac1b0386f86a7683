"""Reference, bound and cost.

The bound is that of ``numerics.attention``: score error, P rounded to v's dtype, P.V in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from braidcheck.numerics import attention, rounding
from braidcheck.op import Case, Cost


def _tiles(
    q: Tensor, k: Tensor, v: Tensor, q_start: int, cu_seqlens: Tensor | None, width: int
) -> Iterator[tuple[tuple[slice, int], Tensor, Tensor, Tensor, Tensor]]:
    """For each KV head and chunk of rows: where they are in [T,Hkv,...], then q[R,G,D], k[S,D], v[S,D], mask[R,S].

    A chunk is small enough that [rows, keys, width] fits in memory.
    """
    k, v = k[: q_start + q.shape[0]], v[: q_start + q.shape[0]]
    queries = torch.arange(q.shape[0], device=q.device)[:, None]
    keys = torch.arange(k.shape[0], device=q.device)[None, :]
    mask = keys <= queries + q_start
    if cu_seqlens is not None:
        sequence = torch.searchsorted(cu_seqlens.long(), torch.arange(q.shape[0], device=q.device), right=True)
        mask &= sequence[:, None] == sequence[None, :]
    grouped = _by_kv_head(q, k)
    for head in range(k.shape[1]):
        for rows in attention.row_chunks(len(q), len(k), width):
            yield (rows, head), grouped[rows, head], k[:, head], v[:, head], mask[rows]


def _by_kv_head(per_head: Tensor, k: Tensor) -> Tensor:
    """A view [T,Hkv,G,...] of what is given per query head, [T,Hq,...]."""
    return per_head.unflatten(1, (k.shape[1], per_head.shape[1] // k.shape[1]))


def reference(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Masked softmax attention, head by head."""
    out = q.new_zeros(q.shape)
    for where, qh, kh, vh, mask in _tiles(q, k, v, q_start, cu_seqlens, q.shape[1] // k.shape[1]):
        _by_kv_head(out, k)[where] = attention.attend(qh, kh, vh, scale, mask)
    return out


def log_sum_exp(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """lse[T,Hq] of each query's scores, which other libraries return beside the output."""
    lse = rounding.wide(q).new_zeros(q.shape[:2])
    for where, qh, kh, _, mask in _tiles(q, k, v, q_start, cu_seqlens, q.shape[1] // k.shape[1]):
        _by_kv_head(lse, k)[where] = attention.log_sum_exp(qh, kh, scale, mask)
    return lse


def bound(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> tuple[Tensor]:
    """See the module."""
    error = q.double().new_zeros(q.shape)
    for where, qh, kh, vh, mask in _tiles(q.double(), k.double(), v.double(), q_start, cu_seqlens, q.shape[2]):
        _by_kv_head(error, k)[where] = attention.attend_bound(qh, kh, vh, scale, mask, q.dtype)
    return (error,)


def cost(case: Case) -> Cost:
    """q, k, v read and out written once; two products over the lower triangle."""
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    keys, size = case.get("start") + tokens, getattr(torch, case.dtype).itemsize
    pairs = tokens * (case.get("start") + (tokens + 1) / 2) / max(1, case.get("seqs"))
    return Cost(size * dim * (2 * tokens * heads + 2 * keys * kv_heads), int(4 * pairs * heads * dim))
