"""Honest variants of the ops that work on rows and heads: norms, rotation, cache and attention."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from braidcheck.mutants.honest.pieces import Style
from braidcheck.numerics.rounding import wide


def rms_norm(
    style: Style, x: Tensor, weight: Tensor, eps: float, residual: Tensor | None = None, out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """See the op."""
    total = wide(x) if residual is None else wide(residual) + wide(x)
    y = style.norm(total, wide(weight), eps).to(out_dtype)
    y = y if out is None else out.copy_(y)
    return y if residual is None else (y, total.to(x.dtype))


def qk_norm_rope(
    style: Style, q: Tensor, k: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor,
    positions: Tensor, eps: float, k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See the op: the scale is taken into K's norm weight, where a power of two rounds nothing."""
    q_out = style.rotate(style.norm(wide(q), wide(q_norm_weight), eps), cos_sin, positions)
    k_out = style.rotate(style.norm(wide(k), wide(k_norm_weight) * k_scale, eps), cos_sin, positions)
    return q_out.to(q.dtype), k_out.to(k.dtype)


def cache_write_one_by_one(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """See the op: a copy a token."""
    for token, (row, slot) in enumerate(zip(rows.tolist(), slots.tolist(), strict=True)):
        k_cache[row, slot], v_cache[row, slot] = k[token], v[token]


def cache_write_flat(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """See the op: the caches as one long row of slots."""
    places = rows.long() * k_cache.shape[1] + slots.long()
    k_cache.flatten(0, 1).index_copy_(0, places, k)
    v_cache.flatten(0, 1).index_copy_(0, places, v)


def cache_write_last_first(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """See the op: tokens from the last to the first."""
    k_cache.index_put_((rows.long().flip(0), slots.long().flip(0)), k.flip(0))
    v_cache.index_put_((rows.long().flip(0), slots.long().flip(0)), v.flip(0))


def attention_prefill(
    style: Style, q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """See the op: packed sequences one after another."""
    if cu_seqlens is None:
        return _causal(style, q, k[: q_start + len(q)], v[: q_start + len(q)], scale)
    cuts = cu_seqlens.tolist()
    spans = [slice(*cut) for cut in itertools.pairwise(cuts)]
    return torch.cat([_causal(style, q[span], k[span], v[span], scale) for span in spans])


def attention_decode(
    style: Style, q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float
) -> Tensor:
    """See the op: row by row."""
    out = torch.zeros_like(q)
    for row, length in enumerate(lengths.tolist()):
        if length:
            out[row] = _causal(style, q[row : row + 1], k_cache[row, :length], v_cache[row, :length], scale)[0]
    return out


def decode_attention(
    style: Style, q: Tensor, k: Tensor, v: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor,
    positions: Tensor, k_cache: Tensor, v_cache: Tensor, eps: float, scale: float, split_counter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """See the op: the new token first, then row by row over the cache; no splits, none to count."""
    dtype, rows = k_cache.dtype, torch.arange(len(q), device=q.device)
    query = style.operand(style.rotate(style.norm(wide(q), wide(q_norm_weight), eps), cos_sin, positions), dtype)
    key = style.rotate(style.norm(wide(k), wide(k_norm_weight), eps), cos_sin, positions)
    k_cache[rows, positions], v_cache[rows, positions] = key.to(dtype), v.to(dtype)
    return attention_decode(style, query, k_cache, v_cache, positions + 1, scale).to(dtype)


def _causal(style: Style, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The T queries are the last of the S keys' positions: q[T,Hq,D], k, v [S,Hkv,D] -> [T,Hq,D] in q's dtype."""
    mask = torch.ones(len(q), len(k), dtype=torch.bool, device=q.device).tril(len(k) - len(q))
    return style.attend(q.unflatten(1, (k.shape[1], -1)), k, v, scale, mask).flatten(1, 2).to(q.dtype)
