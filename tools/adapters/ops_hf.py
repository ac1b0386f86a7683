"""Modules of Hugging Face transformers under the names of our ops."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb, eager_attention_forward


def normed(kind, x, weight, eps):
    module = kind(x.shape[-1], eps)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return module(x)


def qwen3_rms_norm(x, weight, eps):
    return normed(Qwen3RMSNorm, x, weight, eps)


def llama_rms_norm(x, weight, eps, residual=None):
    """With a residual as a decoder layer has it: the sum in the stream's type, then the norm."""
    total = x if residual is None else x + residual
    y = normed(LlamaRMSNorm, total, weight, eps)
    return y if residual is None else (y, total)


def gemma_rms_norm(x, weight, eps):
    return normed(GemmaRMSNorm, x, weight, eps)


def rope(q, k, cos_sin, positions):
    cos, sin = (torch.cat([part, part], -1).to(q.dtype)[None] for part in cos_sin[positions].chunk(2, -1))
    turned = apply_rotary_pos_emb(q.transpose(0, 1)[None], k.transpose(0, 1)[None], cos, sin)
    return tuple(part[0].transpose(0, 1) for part in turned)


def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    q, k = normed(Qwen3RMSNorm, q, q_norm_weight, eps), normed(Qwen3RMSNorm, k, k_norm_weight, eps)
    return rope(q, k, cos_sin, positions)


def qkv_rope(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, qkv_bias=None):
    heads = torch.nn.functional.linear(x, qkv_weight, qkv_bias).unflatten(1, (-1, head_dim))
    q, k, v = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return *rope(q, k, cos_sin, positions), v


def gate_up_silu(x, weight):
    """LlamaMLP but for its last product."""
    size = SimpleNamespace(
        hidden_size=x.shape[1], intermediate_size=len(weight) // 2, mlp_bias=False, hidden_act="silu"
    )
    with torch.device("meta"):
        mlp = LlamaMLP(size)
    gate, up = (torch.nn.Parameter(part, requires_grad=False) for part in weight.chunk(2))
    mlp.gate_proj.weight, mlp.up_proj.weight = gate, up
    mlp.down_proj = torch.nn.Identity()
    return mlp(x)


def linear_residual(x, weight, residual):
    return residual + torch.nn.functional.linear(x, weight)


def attention(forward, q, k, v, scale, mask):
    groups = SimpleNamespace(num_key_value_groups=q.shape[-2] // k.shape[-2], training=False, is_causal=True)
    q, k, v = (part.transpose(-3, -2) for part in (q, k, v))
    return forward(groups, q, k, v, mask, scaling=scale, is_causal=False)[0]


def causal(q, k, q_start, dtype):
    seen = torch.arange(len(k))[None, :] <= torch.arange(len(q))[:, None] + q_start
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)[None, None]


def attention_prefill_eager(q, k, v, scale, q_start=0):
    k, v = k[: q_start + len(q)], v[: q_start + len(q)]
    return attention(eager_attention_forward, q[None], k[None], v[None], scale, causal(q, k, q_start, q.dtype))[0]


def attention_prefill_sdpa(q, k, v, scale, q_start=0):
    k, v = k[: q_start + len(q)], v[: q_start + len(q)]
    return attention(sdpa_attention_forward, q[None], k[None], v[None], scale, causal(q, k, q_start, q.dtype))[0]


def attention_decode_sdpa(q, k_cache, v_cache, lengths, scale):
    """Row by row, each with its own keys."""
    rows = []
    for row, n in enumerate(lengths.tolist()):
        k, v = k_cache[row : row + 1, :n], v_cache[row : row + 1, :n]
        rows.append(attention(sdpa_attention_forward, q[row][None, None], k, v, scale, None)[0])
    return torch.cat(rows)


def lm_head(x, norm_weight, weight, eps):
    return torch.nn.functional.linear(normed(LlamaRMSNorm, x, norm_weight, eps), weight)
