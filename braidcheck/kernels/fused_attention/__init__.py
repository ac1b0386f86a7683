"""Attention fused from RMSNorm to output projection: the documents' six phases in three launches.

Norm, projection, head norm, RoPE and cache write are one launch, attention the second, the output projection the
third; only Q and the heads' outputs pass through memory between them. The bound is derived in ``oracle``.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.fused_attention import cases, oracle
from braidcheck.kernels.fused_attention.kernel import attend_cache, project_out, project_to_cache
from braidcheck.op import Contract, Op

BLOCK_S, BLOCK_N, BLOCK_K = (256, 256, 256) if INTERPRETED else (64, 32, 64)
LOG2E = 1.4426950408889634


def fused_attention(
    hidden: Tensor, norm_weight: Tensor, qkv_weight: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor,
    o_weight: Tensor, cos_sin: Tensor, positions: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor,
    num_heads: int, num_kv_heads: int, head_dim: int, eps: float, scale: float, cache: str = "rotated",
) -> Tensor:  # fmt: skip
    """Norm, QKV, head norms, RoPE, cache write, attention and output projection of one layer.

    hidden[T,H]; norm_weight[H]; qkv_weight[(Hq+2Hkv)*D, H]; q/k_norm_weight[D]; o_weight[H, Hq*D]; cos_sin[P,D]
    float32; positions[T]; caches [B,S,Hkv,D] of the weight's dtype, written in place; lengths[B] slots filled, the new
    tokens included. With T = B this is a decode step, token b of row b; else B is 1 and the T tokens fill the last
    slots of row 0. ``cache`` "rotated" keeps K after norm and RoPE; "raw" before both, and then slot s must hold the
    token of position s. Returns out[T,H] in the weight's dtype, no residual added. Raises ValueError for what it
    cannot serve.
    """
    rows, (batch, capacity) = (num_heads + 2 * num_kv_heads) * head_dim, k_cache.shape[:2]
    tokens, width = hidden.shape
    require(cache in ("rotated", "raw"), f"cache must be 'rotated' or 'raw', is {cache!r}")
    require(norm_weight.shape == (width,) and qkv_weight.shape == (rows, width), f"qkv_weight must be [{rows},{width}]")
    require(o_weight.shape == (width, num_heads * head_dim), f"o_weight must be [{width},{num_heads * head_dim}]")
    require(q_norm_weight.shape == k_norm_weight.shape == (head_dim,), f"head norm weights must be [{head_dim}]")
    require(num_heads % num_kv_heads == 0 and head_dim % 2 == 0, "num_heads % num_kv_heads and head_dim % 2 must be 0")
    require(cos_sin.shape[1] == head_dim and cos_sin.dtype == torch.float32, f"cos_sin must be float32 [P,{head_dim}]")
    require(k_cache.shape[2:] == (num_kv_heads, head_dim) and v_cache.shape == k_cache.shape, "caches [B,S,Hkv,D]")
    require(k_cache.dtype == v_cache.dtype == o_weight.dtype == qkv_weight.dtype, "caches and weights need one dtype")
    require(tokens == batch or batch == 1, f"{tokens} tokens: give as many cache rows (decode) or one (prefill)")
    require(positions.shape == (tokens,) and lengths.shape == (batch,), f"positions [{tokens}], lengths [{batch}]")
    require(cache == "rotated" or cos_sin.shape[0] >= capacity, "a raw cache needs the table to cover every slot")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require_contiguous_last_dim(
        hidden=hidden, qkv_weight=qkv_weight, o_weight=o_weight, positions=positions, lengths=lengths
    )
    require_same_device(hidden=hidden, qkv_weight=qkv_weight, k_cache=k_cache, cos_sin=cos_sin, lengths=lengths)
    decode, raw, group = tokens == batch, cache == "raw", num_heads // num_kv_heads
    half = max(16, triton.next_power_of_2(head_dim // 2))
    q = torch.empty(tokens, num_heads, head_dim, dtype=qkv_weight.dtype, device=hidden.device)
    heads = torch.empty_like(q)
    out = torch.empty(tokens, width, dtype=o_weight.dtype, device=hidden.device)
    if not tokens:
        return out
    block_t = default_block_m(tokens)
    of_cache = k_cache.stride(0), v_cache.stride(0)
    project_to_cache[triton.cdiv(tokens, block_t), num_heads + 2 * num_kv_heads](
        hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, cos_sin, positions, lengths, q, k_cache, v_cache,
        tokens, width, cos_sin.shape[0], capacity, hidden.stride(0), qkv_weight.stride(0), *of_cache, eps,
        NUM_HEADS=num_heads, NUM_KV_HEADS=num_kv_heads, HEAD_DIM=head_dim, HALF=half, BLOCK_T=block_t,
        BLOCK_K=BLOCK_K, DECODE=decode, RAW=raw,
    )  # fmt: skip
    per_program = 1 if decode else max(1, default_block_m(tokens) // group)
    attend_cache[triton.cdiv(tokens, per_program), num_kv_heads](
        q, k_cache, v_cache, k_norm_weight, cos_sin, lengths, heads, tokens, cos_sin.shape[0], capacity, *of_cache, eps,
        scale * LOG2E, NUM_KV_HEADS=num_kv_heads, GROUP=group, HEAD_DIM=head_dim, HALF=half, TOKENS=per_program,
        BLOCK_M=max(16, triton.next_power_of_2(per_program * group)), BLOCK_S=BLOCK_S, DECODE=decode, RAW=raw,
        num_warps=8 if raw and not decode else 4,  # norm and RoPE of whole blocks of keys spill with four
    )  # fmt: skip
    project_out[triton.cdiv(width, BLOCK_N), triton.cdiv(tokens, block_t)](
        heads, o_weight, out, tokens, width, num_heads * head_dim, o_weight.stride(0), BLOCK_T=block_t,
        BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K,
    )  # fmt: skip
    return out


OP = Op(
    call=fused_attention,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "o_weight", "k_cache": "k_cache", "v_cache": "v_cache"},
        casts=(
            "the normalised row to the weight's dtype",
            "q, k, v to the weight's dtype; raw: k before its norm, and again after RoPE",
            "P to v's dtype",
            "the heads' outputs to the weight's dtype",
        ),
        mutates=("k_cache", "v_cache"),
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
