"""Reference, bound and cost.

The bound is that of ``numerics.attention``: score error, P rounded to v's dtype, P.V in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from braidcheck.numerics import attention, rounding
from braidcheck.op import Case, Cost


def _per_head(
    q: Tensor, k: Tensor, v: Tensor, q_start: int, cu_seqlens: Tensor | None, heads: Iterable[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """q, k, v and mask of each KV head in ``heads``: q[T,G,D], k[S,D], v[S,D], mask[T,S]."""
    queries = torch.arange(q.shape[0], device=q.device)[:, None]
    keys = torch.arange(k.shape[0], device=q.device)[None, :]
    mask = keys <= queries + q_start
    if cu_seqlens is not None:
        sequence = torch.searchsorted(cu_seqlens.long(), torch.arange(q.shape[0], device=q.device), right=True)
        mask &= sequence[:, None] == sequence[None, :]
    grouped = q.unflatten(1, (k.shape[1], q.shape[1] // k.shape[1]))
    for head in heads:
        yield grouped[:, head], k[:, head], v[:, head], mask


def reference(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Masked softmax attention, head by head."""
    k, v = k[: q_start + q.shape[0]], v[: q_start + q.shape[0]]
    parts = []
    for qh, kh, vh, mask in _per_head(q, k, v, q_start, cu_seqlens, range(k.shape[1])):
        chunks = attention.row_chunks(len(qh), len(kh), qh.shape[1])
        done = [attention.attend(qh[rows], kh, vh, scale, mask[rows]) for rows in chunks]
        parts.append(torch.cat(done) if done else qh)
    return torch.cat(parts, dim=1)


def log_sum_exp(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """lse[T,Hq] of each query's scores, which other libraries return beside the output."""
    k, v = k[: q_start + q.shape[0]], v[: q_start + q.shape[0]]
    parts = []
    for qh, kh, _, mask in _per_head(q, k, v, q_start, cu_seqlens, range(k.shape[1])):
        chunks = attention.row_chunks(len(qh), len(kh), qh.shape[1])
        done = [attention.log_sum_exp(qh[rows], kh, scale, mask[rows]) for rows in chunks]
        parts.append(torch.cat(done) if done else rounding.wide(qh).sum(-1))
    return torch.cat(parts, dim=1)


def bound(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> tuple[Tensor]:
    """See the module."""
    k, v = k[: q_start + q.shape[0]].double(), v[: q_start + q.shape[0]].double()
    out = torch.zeros(q.shape, dtype=torch.float64, device=q.device).unflatten(
        1, (k.shape[1], q.shape[1] // k.shape[1])
    )
    for head, (qh, kh, vh, mask) in enumerate(_per_head(q.double(), k, v, q_start, cu_seqlens, range(k.shape[1]))):
        for rows in attention.row_chunks(len(qh), len(kh), qh.shape[2]):
            out[rows, head] = attention.attend_bound(qh[rows], kh, vh, scale, mask[rows], q.dtype)
    return (out.flatten(1, 2),)


def cost(case: Case) -> Cost:
    """q, k, v read and out written once; two products over the lower triangle."""
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    keys, size = case.get("start") + tokens, getattr(torch, case.dtype).itemsize
    pairs = tokens * (case.get("start") + (tokens + 1) / 2) / max(1, case.get("seqs"))
    return Cost(size * dim * (2 * tokens * heads + 2 * keys * kv_heads), int(4 * pairs * heads * dim))
