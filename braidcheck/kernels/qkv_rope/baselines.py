"""Timing baselines of ``qkv_rope``."""

from __future__ import annotations

import torch.nn.functional as F

from braidcheck.kernels.common.baselines import eager_qk_norm_rope


def eager(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, q_norm_weight, k_norm_weight, eps):
    """The op with head norms, an operation at a time."""
    qkv = F.linear(x.to(qkv_weight.dtype), qkv_weight).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    q, k, v = qkv.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return *eager_qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps), v
