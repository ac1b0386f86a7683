"""Functions of conch-triton-kernels under the names of our ops: order of arguments and shapes, nothing else."""

from __future__ import annotations

import torch
from conch.ops.activation.silu_and_mul import silu_and_mul
from conch.ops.embedding.rotary_embedding import rotary_embedding
from conch.ops.normalization.rms_norm import fused_add_rms_norm
from conch.ops.normalization.rms_norm import rms_norm as conch_rms_norm


def rms_norm(x, weight, eps, residual=None):
    if residual is None:
        return conch_rms_norm(x, weight, eps)
    return fused_add_rms_norm(x, residual, weight, eps)


def rms_norm_qkv(x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim, qkv_bias=None):
    qkv = torch.nn.functional.linear(conch_rms_norm(x, norm_weight, eps), qkv_weight, qkv_bias)
    return qkv.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def rope(q, k, cos_sin, positions):
    q, k = q.flatten(1).clone(), k.flatten(1).clone()
    dim = cos_sin.shape[1]
    return tuple(part.unflatten(1, (-1, dim)) for part in rotary_embedding(positions, q, k, dim, cos_sin))


def qkv_rope(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, qkv_bias=None):
    heads = torch.nn.functional.linear(x, qkv_weight, qkv_bias).unflatten(1, (-1, head_dim))
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return *rope(q, k, cos_sin, positions), v


def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    return rope(conch_rms_norm(q, q_norm_weight, eps), conch_rms_norm(k, k_norm_weight, eps), cos_sin, positions)


def gate_up_silu(x, weight):
    return silu_and_mul(torch.nn.functional.linear(x, weight))
