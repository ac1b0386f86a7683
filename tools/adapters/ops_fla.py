"""Functions of flash-linear-attention under the names of our ops: order of arguments and shapes, nothing else."""

from __future__ import annotations

import torch
from fla.modules.activations import swiglu
from fla.modules.norm.layernorm import rms_norm as fla_rms_norm
from fla.modules.norm.layernorm import rms_norm_linear
from fla.modules.rotary.ops import rotary_embedding
from fla.ops.attn.decoding import attn_decoding_one_step
from fla.ops.attn.parallel import parallel_attn


def rms_norm(x, weight, eps, residual=None):
    return fla_rms_norm(x, weight, None, residual, eps, prenorm=residual is not None)


def rms_norm_qkv(x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim, qkv_bias=None):
    qkv = rms_norm_linear(x, norm_weight, None, qkv_weight, qkv_bias, eps=eps).unflatten(1, (-1, head_dim))
    return qkv.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def rope(x, cos_sin, positions):
    """fla rotates positions from 0 on: the table's rows at ``positions`` are its table."""
    cos, sin = cos_sin[positions].chunk(2, -1)
    return rotary_embedding(x[None], cos.contiguous(), sin.contiguous())[0]


def qkv_rope(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, qkv_bias=None):
    heads = torch.nn.functional.linear(x, qkv_weight, qkv_bias).unflatten(1, (-1, head_dim))
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return rope(q, cos_sin, positions), rope(k, cos_sin, positions), v


def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    q = fla_rms_norm(q, q_norm_weight, None, eps=eps)
    k = fla_rms_norm(k, k_norm_weight, None, eps=eps)
    return rope(q, cos_sin, positions), rope(k, cos_sin, positions)


def gate_up_silu(x, weight):
    gate, up = torch.nn.functional.linear(x, weight).chunk(2, dim=-1)
    return swiglu(gate, up)


def attention_prefill(q, k, v, scale, q_start=0, cu_seqlens=None):
    if q_start:
        raise NotImplementedError("parallel_attn has no keys before the first query")
    keys, values = k[None, : len(q)], v[None, : len(q)]
    return parallel_attn(q[None], keys, values, scale=scale, cu_seqlens=cu_seqlens)[0]


def attention_decode(q, k_cache, v_cache, lengths, scale):
    """Rows of a cache as one packed sequence of all keys."""
    ends = torch.nn.functional.pad(lengths.long().cumsum(0), (1, 0))
    filled = torch.arange(k_cache.shape[1])[None, :] < lengths[:, None]
    k, v = (cache[filled][None] for cache in (k_cache, v_cache))
    return attn_decoding_one_step(q[None], k, v, scale=scale, cu_seqlens=ends)[0]
