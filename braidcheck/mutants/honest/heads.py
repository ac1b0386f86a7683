"""Honest variants of the ops that work on rows and heads: attention."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from braidcheck.kernels.common.variants import Style
from braidcheck.numerics.rounding import wide


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
