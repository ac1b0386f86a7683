"""Timing baselines of ``fused_attention``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from braidcheck.kernels.common.baselines import (
    eager_attention_decode,
    eager_cache_write,
    eager_norm_qkv,
    eager_qk_norm_rope,
)


def eager(
    hidden,
    norm_weight,
    qkv_weight,
    q_norm_weight,
    k_norm_weight,
    o_weight,
    cos_sin,
    positions,
    k_cache,
    v_cache,
    lengths,
    num_heads,
    num_kv_heads,
    head_dim,
    eps,
    scale,
):
    """The specification's six phases as separate operations, with a "post_rope" cache.

    Either hidden[T,H] are the last T tokens of one row that fills its cache, or one new token of each of several rows.
    """
    q, k, v = eager_norm_qkv(hidden, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim)
    q, k = eager_qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    if len(k_cache) == 1:
        heads = eager_attention_of_row(q, k, v, k_cache[0], v_cache[0], scale)
    else:
        eager_cache_write(k, v, k_cache, v_cache, torch.arange(len(q), device=q.device), lengths - 1)
        heads = eager_attention_decode(q, k_cache, v_cache, lengths, scale)
    return F.linear(heads.flatten(1), o_weight)


def eager_attention_of_row(q: Tensor, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, scale: float) -> Tensor:
    """Write k and v [T,Hkv,D] to the last T slots of a row's cache [S,Hkv,D] and attend: [T,Hq,D].

    The softmax is taken of stored scores, as the specification writes it.
    """
    tokens, capacity = len(q), len(k_cache)
    k_cache[capacity - tokens :] = k
    v_cache[capacity - tokens :] = v
    keys, values = (
        cache.transpose(0, 1).repeat_interleave(q.shape[1] // k.shape[1], dim=0) for cache in (k_cache, v_cache)
    )
    scores = q.transpose(0, 1) @ keys.transpose(1, 2) * scale
    if tokens > 1:
        masked = torch.ones(tokens, capacity, dtype=torch.bool, device=q.device).triu(capacity - tokens + 1)
        scores = scores.masked_fill(masked, float("-inf"))
    heads = scores.float().softmax(-1).to(values.dtype) @ values
    return heads.transpose(0, 1)
