"""What ``fused_attention`` is timed beside."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from braidcheck.kernels.common.baselines import (
    eager_attention_decode,
    eager_cache_write,
    eager_norm_qkv,
    eager_qk_norm_rope,
    eager_rms_norm,
    eager_rope,
)


def eager(
    hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, o_weight, cos_sin, positions, k_cache, v_cache,
    lengths, num_heads, num_kv_heads, head_dim, eps, scale,
):  # fmt: skip
    """As the op with rotated keys: one row filled to its capacity, or a decode step of several."""
    sizes = num_heads, num_kv_heads, head_dim
    if len(k_cache) == 1:
        return eager_attention_block(
            hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, o_weight, cos_sin, positions, k_cache,
            v_cache, lengths, *sizes, eps, scale,
        )  # fmt: skip
    q, k, v = eager_norm_qkv(hidden, norm_weight, qkv_weight, eps, *sizes)
    q, k = eager_qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    eager_cache_write(k, v, k_cache, v_cache, torch.arange(len(q), device=q.device), lengths - 1)
    return F.linear(eager_attention_decode(q, k_cache, v_cache, lengths, scale).flatten(1), o_weight)


def eager_attention_block(
    hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, o_weight, cos_sin, positions, k_cache, v_cache,
    lengths, num_heads, num_kv_heads, head_dim, eps, scale,
):  # fmt: skip
    """The specification's six phases as separate operations, one row of cache filled to its capacity.

    hidden[T,H] are the row's last T tokens; the softmax is taken of stored scores, as the specification writes it.
    """
    tokens, capacity = hidden.shape[0], k_cache.shape[1]
    q, k, v = eager_norm_qkv(hidden, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim)
    q = eager_rope(eager_rms_norm(q, q_norm_weight, eps).to(q.dtype), cos_sin, positions)
    k = eager_rope(eager_rms_norm(k, k_norm_weight, eps).to(k.dtype), cos_sin, positions)
    k_cache[0, capacity - tokens :] = k
    v_cache[0, capacity - tokens :] = v
    keys, values = (
        cache[0].transpose(0, 1).repeat_interleave(num_heads // num_kv_heads, dim=0) for cache in (k_cache, v_cache)
    )
    scores = q.transpose(0, 1) @ keys.transpose(1, 2) * scale
    if tokens > 1:
        hidden_keys = torch.ones(tokens, capacity, dtype=torch.bool, device=q.device).triu(capacity - tokens + 1)
        scores = scores.masked_fill(hidden_keys, float("-inf"))
    heads = scores.float().softmax(-1).to(values.dtype) @ values
    return F.linear(heads.transpose(0, 1).reshape(tokens, -1), o_weight)
