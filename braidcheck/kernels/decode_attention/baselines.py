"""Timing baselines of ``decode_attention``."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.baselines import eager_attention_decode, eager_cache_write, eager_qk_norm_rope


def eager(q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale, split_counter=None):
    """The op, an operation at a time; ``split_counter`` is not used."""
    q, k = eager_qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    rows = torch.arange(len(q), device=q.device)
    eager_cache_write(k.to(k_cache.dtype), v.to(v_cache.dtype), k_cache, v_cache, rows, positions)
    return eager_attention_decode(q.to(k_cache.dtype), k_cache, v_cache, positions + 1, scale)
