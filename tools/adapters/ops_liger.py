"""Liger-Kernel's functions under the names of our ops: their order of arguments and shapes, nothing else."""

from __future__ import annotations

import torch
from liger_kernel.transformers.functional import liger_fused_add_rms_norm, liger_rms_norm, liger_rope, liger_swiglu


def rms_norm(x, weight, eps, residual=None):
    if residual is None:
        return liger_rms_norm(x, weight, eps, in_place=False)
    return liger_fused_add_rms_norm(x, residual, weight, eps, in_place=False)


def gemma_rms_norm(x, weight, eps):
    return liger_rms_norm(x, weight, eps, offset=1.0, casting_mode="gemma", in_place=False)


def rms_norm_qkv(x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim):
    qkv = torch.nn.functional.linear(liger_rms_norm(x, norm_weight, eps, in_place=False), qkv_weight)
    heads = qkv.unflatten(1, (-1, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def rope(q, k, cos_sin, positions):
    """[T, heads, D] as [1, heads, T, D], and the table's rows with each angle for both halves."""
    cos, sin = (torch.cat([part, part], -1)[None] for part in cos_sin[positions].chunk(2, -1))
    turned = liger_rope(q.transpose(0, 1)[None].clone(), k.transpose(0, 1)[None].clone(), cos, sin)
    return tuple(part[0].transpose(0, 1) for part in turned)


def qkv_rope(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim):
    heads = torch.nn.functional.linear(x, qkv_weight).unflatten(1, (-1, head_dim))
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return *rope(q, k, cos_sin, positions), v


def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    q, k = liger_rms_norm(q, q_norm_weight, eps, in_place=False), liger_rms_norm(k, k_norm_weight, eps, in_place=False)
    return rope(q, k, cos_sin, positions)


def gate_up_silu(x, weight):
    gate, up = torch.nn.functional.linear(x, weight).chunk(2, dim=-1)
    return liger_swiglu(gate, up)
