"""Equivalent implementations of the fused attention ops that are composed of other ops' kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.attention_decode import attention_decode
from braidcheck.kernels.attention_prefill import attention_prefill
from braidcheck.kernels.cache_write import cache_write
from braidcheck.kernels.fused_attention.oracle import places
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.qk_norm_rope import qk_norm_rope
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.numerics.rounding import wide


def separated(
    hidden: Tensor, norm_weight: Tensor, qkv_weight: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor,
    o_weight: Tensor, cos_sin: Tensor, positions: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor,
    num_heads: int, num_kv_heads: int, head_dim: int, eps: float, scale: float,
) -> Tensor:  # fmt: skip
    """See the op: five kernels instead of three; the cache is always "post_rope", so there is no such argument."""
    q, k, v = qkv_rope(
        rms_norm(hidden, norm_weight, eps), qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim,
        q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight, eps=eps,
    )  # fmt: skip
    cache_write(k, v, k_cache, v_cache, *places(len(hidden), len(k_cache), lengths))
    if len(hidden) == len(k_cache):
        heads = attention_decode(q, k_cache, v_cache, lengths, scale)
    else:
        length = int(lengths[0])
        heads = attention_prefill(q, k_cache[0, :length], v_cache[0, :length], scale, length - len(q))
    nothing = torch.zeros(len(hidden), len(o_weight), dtype=o_weight.dtype, device=hidden.device)
    return linear_residual(heads.flatten(1), o_weight, nothing)


def decode_separated(
    q: Tensor, k: Tensor, v: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor, positions: Tensor,
    k_cache: Tensor, v_cache: Tensor, eps: float, scale: float, split_counter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """See ``decode_attention``: three kernels instead of one, none of which counts splits."""
    rotated = qk_norm_rope(wide(q), wide(k), q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    query, key, value = (part.to(k_cache.dtype) for part in (*rotated, v))
    cache_write(key, value, k_cache, v_cache, torch.arange(len(q), device=q.device), positions)
    return attention_decode(query, k_cache, v_cache, positions + 1, scale)
