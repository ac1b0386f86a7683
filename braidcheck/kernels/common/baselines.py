"""Building blocks of timing baselines: PyTorch's separate operations, and its attention's backends."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

SDPA_BACKENDS = {"FlashAttention": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}


def eager_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm in float32 throughout, an operation at a time."""
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * weight.float()


def eager_norm_qkv(x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim):
    """RMSNorm, then the projection, then the split."""
    qkv = F.linear(eager_rms_norm(x, norm_weight, eps).to(qkv_weight.dtype), qkv_weight)
    heads = qkv.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def eager_rope(x: Tensor, cos_sin: Tensor, positions: Tensor) -> Tensor:
    """Rotate x[T,heads,D] by the table's rows at ``positions``."""
    half = x.shape[-1] // 2
    cos, sin = cos_sin[positions].to(x.dtype)[:, None].split(half, dim=-1)
    first, second = x.split(half, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def eager_qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    """Head norms of q and k, then RoPE."""
    q, k = (
        eager_rope(eager_rms_norm(x, weight, eps).to(x.dtype), cos_sin, positions)
        for x, weight in ((q, q_norm_weight), (k, k_norm_weight))
    )
    return q, k


def eager_cache_write(k, v, k_cache, v_cache, rows, slots):
    """New K and V to their slots of the caches, in place."""
    k_cache[rows, slots], v_cache[rows, slots] = k, v


def attended(q: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float) -> Tensor:
    """Attention of q[B,Hq,D] over keys and values [B,Hkv,S,D] where ``seen`` [B,S]; [B,Hq,D]."""
    grouped = q.unflatten(1, (keys.shape[1], -1))
    scores = (grouped @ keys.transpose(2, 3)).float() * scale
    p = scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(-1)
    return (p.to(values.dtype) @ values).flatten(1, 2)


def eager_attention_decode(q, k_cache, v_cache, lengths, scale):
    """One query a row over the filled slots of the cache; each row must have one at least."""
    seen = torch.arange(k_cache.shape[1], device=q.device)[None] < lengths[:, None]
    return attended(q, k_cache.transpose(1, 2), v_cache.transpose(1, 2), seen, scale)
