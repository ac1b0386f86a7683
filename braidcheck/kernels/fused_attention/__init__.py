"""Attention fused from RMSNorm to output projection: the specification's six phases in three launches.

Norm, projection, head norm, RoPE and cache write are one launch, attention the second, the output projection the
third; only Q and the heads' outputs pass through memory between them. The bound is derived in ``oracle``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.fused_attention.kernel import attend_cache, project_out, project_to_cache

ATTENTION_BLOCK_N, BLOCK_N, BLOCK_K = (256, 256, 256) if INTERPRETED else (64, 32, 64)
LOG2E = 1.4426950408889634


def fused_attention(
    hidden: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    o_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    eps: float,
    scale: float,
    cache: str = "post_rope",
) -> Tensor:
    """Norm, QKV, head norms, RoPE, cache write, attention and output projection of one layer.

    hidden[T,H]; norm_weight[H]; qkv_weight[(Hq+2Hkv)*D, H]; q/k_norm_weight[D]; o_weight[H, Hq*D]; cos_sin[P,D]
    float32; positions[T]; caches [B,S,Hkv,D] of the weight's dtype, written in place; lengths[B] slots filled, the new
    tokens included. With T = B this is a decode step, token b of row b; else B is 1 and the T tokens fill the last
    slots of row 0. ``cache`` "post_rope" (or "rotated") keeps K after norm and RoPE, "pre_rope" (or "raw") before
    both: then slot s must hold the token of position s. Returns out[T,H] in the weight's dtype, no residual added.
    Raises ValueError for what it cannot serve.
    """
    rows, (batch, capacity) = (num_heads + 2 * num_kv_heads) * head_dim, k_cache.shape[:2]
    tokens, width = hidden.shape
    cache = {"rotated": "post_rope", "raw": "pre_rope"}.get(cache, cache)
    require(cache in ("post_rope", "pre_rope"), f"cache must be 'post_rope' or 'pre_rope', is {cache!r}")
    require(norm_weight.shape == (width,) and qkv_weight.shape == (rows, width), f"qkv_weight must be [{rows},{width}]")
    require(o_weight.shape == (width, num_heads * head_dim), f"o_weight must be [{width},{num_heads * head_dim}]")
    require(q_norm_weight.shape == k_norm_weight.shape == (head_dim,), f"head norm weights must be [{head_dim}]")
    require(num_heads % num_kv_heads == 0 and head_dim % 2 == 0, "num_heads % num_kv_heads and head_dim % 2 must be 0")
    require(cos_sin.shape[1] == head_dim and cos_sin.dtype == torch.float32, f"cos_sin must be float32 [P,{head_dim}]")
    require(k_cache.shape[2:] == (num_kv_heads, head_dim) and v_cache.shape == k_cache.shape, "caches [B,S,Hkv,D]")
    require(k_cache.dtype == v_cache.dtype == o_weight.dtype == qkv_weight.dtype, "caches and weights need one dtype")
    require(tokens == batch or batch == 1, f"{tokens} tokens: give as many cache rows (decode) or one (prefill)")
    require(positions.shape == (tokens,) and lengths.shape == (batch,), f"positions [{tokens}], lengths [{batch}]")
    require(cache == "post_rope" or cos_sin.shape[0] >= capacity, "a pre_rope cache needs a table of every slot")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require_contiguous_last_dim(
        hidden=hidden, qkv_weight=qkv_weight, o_weight=o_weight, positions=positions, lengths=lengths
    )
    require_same_device(hidden=hidden, qkv_weight=qkv_weight, k_cache=k_cache, cos_sin=cos_sin, lengths=lengths)
    decode, pre_rope, group = tokens == batch, cache == "pre_rope", num_heads // num_kv_heads
    half = max(16, next_power_of_2(head_dim // 2))
    q = torch.empty(tokens, num_heads, head_dim, dtype=qkv_weight.dtype, device=hidden.device)
    heads = torch.empty_like(q)
    out = torch.empty(tokens, width, dtype=o_weight.dtype, device=hidden.device)
    if not tokens:
        return out
    block_m = default_block_m(tokens)
    project_to_cache[cdiv(tokens, block_m), num_heads + 2 * num_kv_heads](
        x_ptr=hidden,
        norm_ptr=norm_weight,
        weight_ptr=qkv_weight,
        q_norm_ptr=q_norm_weight,
        k_norm_ptr=k_norm_weight,
        cos_sin_ptr=cos_sin,
        positions_ptr=positions,
        lengths_ptr=lengths,
        q_ptr=q,
        k_cache_ptr=k_cache,
        v_cache_ptr=v_cache,
        num_tokens=tokens,
        width=width,
        rope_len=cos_sin.shape[0],
        cache_len=capacity,
        stride_xm=hidden.stride(0),
        stride_wn=qkv_weight.stride(0),
        stride_k_cache_b=k_cache.stride(0),
        stride_v_cache_b=v_cache.stride(0),
        eps=eps,
        NUM_HEADS=num_heads,
        NUM_KV_HEADS=num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_HALF_D=half,
        BLOCK_M=block_m,
        BLOCK_K=BLOCK_K,
        DECODE=decode,
        PRE_ROPE=pre_rope,
    )
    per_program = 1 if decode else max(1, default_block_m(tokens) // group)
    attend_cache[cdiv(tokens, per_program), num_kv_heads](
        q_ptr=q,
        k_cache_ptr=k_cache,
        v_cache_ptr=v_cache,
        k_norm_ptr=k_norm_weight,
        cos_sin_ptr=cos_sin,
        lengths_ptr=lengths,
        out_ptr=heads,
        num_tokens=tokens,
        rope_len=cos_sin.shape[0],
        cache_len=capacity,
        stride_k_cache_b=k_cache.stride(0),
        stride_v_cache_b=v_cache.stride(0),
        eps=eps,
        qk_scale=scale * LOG2E,
        NUM_KV_HEADS=num_kv_heads,
        GQA_GROUP_SIZE=group,
        HEAD_DIM=head_dim,
        BLOCK_HALF_D=half,
        TOKENS=per_program,
        BLOCK_M=max(16, next_power_of_2(per_program * group)),
        BLOCK_N=ATTENTION_BLOCK_N,
        DECODE=decode,
        PRE_ROPE=pre_rope,
        num_warps=8 if pre_rope and not decode else 4,  # norm and RoPE of whole blocks of keys spill with four
    )
    project_out[cdiv(width, BLOCK_N), cdiv(tokens, block_m)](
        x_ptr=heads,
        weight_ptr=o_weight,
        out_ptr=out,
        num_tokens=tokens,
        width=width,
        length=num_heads * head_dim,
        stride_wn=o_weight.stride(0),
        BLOCK_M=block_m,
        BLOCK_N=BLOCK_N,
        BLOCK_K=BLOCK_K,
    )
    return out
