"""Attention fused from RMSNorm to output projection: the specification's six phases in three launches.

Norm, projection, head norm, RoPE and cache write are one launch, attention the second, the output projection the
third; only Q and the heads' outputs pass through memory between them. The bound is derived in ``oracle``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common.configs import default_block_m, get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import EPS, INDICES, SCALE, ChoiceSpec, TensorSpec, size
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_TOKENS, Arguments, Sizes
from braidcheck.kernels.fused_attention.kernel import attend_cache, project_out, project_to_cache

LOG2E = 1.4426950408889634
CACHE_FORMS = {"post_rope": "post_rope", "pre_rope": "pre_rope", "rotated": "post_rope", "raw": "pre_rope"}

Norms = tuple[Tensor, Tensor, Tensor]  # of hidden, Q and K
Caches = tuple[Tensor, Tensor]  # of K and V


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
    Raises ValueError for unsupported arguments.
    """
    norms, caches = (norm_weight, q_norm_weight, k_norm_weight), (k_cache, v_cache)
    weights, heads = (norm_weight, qkv_weight, *norms[1:], o_weight), (num_heads, num_kv_heads, head_dim)
    ARGUMENTS.check(hidden, *weights, cos_sin, positions, *caches, lengths, *heads, eps, scale, cache)
    pre_rope = CACHE_FORMS[cache] == "pre_rope"
    q = torch.empty(hidden.shape[0], num_heads, head_dim, dtype=qkv_weight.dtype, device=hidden.device)
    attended = torch.empty_like(q)
    out = torch.empty(hidden.shape, dtype=o_weight.dtype, device=hidden.device)
    if hidden.shape[0]:
        _project_to_cache(hidden, norms, qkv_weight, cos_sin, positions, lengths, q, caches, eps, pre_rope)
        _attend_cache(q, caches, k_norm_weight, cos_sin, lengths, eps, scale, pre_rope, attended)
        _project_out(attended, o_weight, out)
    return out


def _require_batch(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    tokens, batch, capacity = sizes["T"], sizes["B"], sizes["S"]
    if batch not in (1, tokens):
        raise ValueError(
            f"k_cache must have {tokens} rows for {tokens} tokens of hidden (decode) or 1 (prefill), has {batch}"
        )
    if CACHE_FORMS[arguments["cache"]] == "pre_rope" and sizes["P"] < capacity:
        raise ValueError(
            f"cos_sin must have a position for each of {capacity} pre_rope slots of k_cache "
            f"(cache={arguments['cache']!r}), has {sizes['P']}"
        )


ARGUMENTS = Arguments(
    {
        "hidden": TensorSpec("T,H"),
        "norm_weight": TensorSpec("H"),
        "qkv_weight": TensorSpec("N,H"),
        # A kernel chooses one of the three norm weights at run time: their pointers must have one type.
        "q_norm_weight": TensorSpec("D", ("norm_weight",)),
        "k_norm_weight": TensorSpec("D", ("norm_weight",)),
        "o_weight": TensorSpec("H,K", ("qkv_weight",)),
        "cos_sin": TensorSpec("P,D", (torch.float32,), contiguous=2),
        "positions": TensorSpec("T", INDICES),
        "k_cache": TensorSpec("B,S,Hkv,D", ("qkv_weight",), contiguous=3, written=True),
        "v_cache": TensorSpec("B,S,Hkv,D", ("qkv_weight",), contiguous=3, written=True),
        "lengths": TensorSpec("B", INDICES),
        "num_heads": size("Hq"),
        "num_kv_heads": size("Hkv"),
        "head_dim": size("D"),
        "eps": EPS,
        "scale": SCALE,
        "cache": ChoiceSpec(tuple(CACHE_FORMS)),
    },
    axes={"T": (0, MAX_TOKENS), "H": (1, MAX_AXIS)},
    derived={
        "N": lambda sizes: (sizes["Hq"] + 2 * sizes["Hkv"]) * sizes["D"],
        "K": lambda sizes: sizes["Hq"] * sizes["D"],
    },
    multiples={"Hq": "Hkv", "D": 2},
    rules=(_require_batch,),
)


def _project_to_cache(
    hidden: Tensor,
    norms: Norms,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    lengths: Tensor,
    q: Tensor,
    caches: Caches,
    eps: float,
    pre_rope: bool,
) -> None:
    (tokens, num_heads, head_dim), (batch, capacity, num_kv_heads, _) = q.shape, caches[0].shape
    block_m = default_block_m(tokens)
    project_to_cache[cdiv(tokens, block_m), num_heads + 2 * num_kv_heads](
        x_ptr=hidden,
        norm_ptr=norms[0],
        weight_ptr=qkv_weight,
        q_norm_ptr=norms[1],
        k_norm_ptr=norms[2],
        cos_sin_ptr=cos_sin,
        positions_ptr=positions,
        lengths_ptr=lengths,
        q_ptr=q,
        k_cache_ptr=caches[0],
        v_cache_ptr=caches[1],
        num_tokens=tokens,
        width=hidden.shape[1],
        rope_len=cos_sin.shape[0],
        cache_len=capacity,
        stride_xm=hidden.stride(0),
        stride_wn=qkv_weight.stride(0),
        stride_k_cache_b=caches[0].stride(0),
        stride_v_cache_b=caches[1].stride(0),
        eps=eps,
        NUM_HEADS=num_heads,
        NUM_KV_HEADS=num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_HALF_D=_block_half_d(head_dim),
        BLOCK_M=block_m,
        BLOCK_K=get_config("fused_attention").block_k,
        DECODE=tokens == batch,
        PRE_ROPE=pre_rope,
    )


def _attend_cache(
    q: Tensor,
    caches: Caches,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    lengths: Tensor,
    eps: float,
    scale: float,
    pre_rope: bool,
    out: Tensor,
) -> None:
    (tokens, num_heads, head_dim), (batch, capacity, num_kv_heads, _) = q.shape, caches[0].shape
    decode, group = tokens == batch, num_heads // num_kv_heads
    per_program = 1 if decode else max(1, default_block_m(tokens) // group)
    attend_cache[cdiv(tokens, per_program), num_kv_heads](
        q_ptr=q,
        k_cache_ptr=caches[0],
        v_cache_ptr=caches[1],
        k_norm_ptr=k_norm_weight,
        cos_sin_ptr=cos_sin,
        lengths_ptr=lengths,
        out_ptr=out,
        num_tokens=tokens,
        rope_len=cos_sin.shape[0],
        cache_len=capacity,
        stride_k_cache_b=caches[0].stride(0),
        stride_v_cache_b=caches[1].stride(0),
        eps=eps,
        qk_scale=scale * LOG2E,
        NUM_KV_HEADS=num_kv_heads,
        GQA_GROUP_SIZE=group,
        HEAD_DIM=head_dim,
        BLOCK_HALF_D=_block_half_d(head_dim),
        TOKENS=per_program,
        BLOCK_M=max(16, next_power_of_2(per_program * group)),
        BLOCK_N=get_config("fused_attention").attention_block_n,
        DECODE=decode,
        PRE_ROPE=pre_rope,
        num_warps=8 if pre_rope and not decode else 4,  # norm and RoPE of whole blocks of keys spill with four
    )


def _project_out(attended: Tensor, o_weight: Tensor, out: Tensor) -> None:
    (tokens, width), config = out.shape, get_config("fused_attention")
    block_m = default_block_m(tokens)
    project_out[cdiv(width, config.block_n), cdiv(tokens, block_m)](
        x_ptr=attended,
        weight_ptr=o_weight,
        out_ptr=out,
        num_tokens=tokens,
        width=width,
        length=o_weight.shape[1],
        stride_wn=o_weight.stride(0),
        BLOCK_M=block_m,
        BLOCK_N=config.block_n,
        BLOCK_K=config.block_k,
    )


def _block_half_d(head_dim: int) -> int:
    return max(16, next_power_of_2(head_dim // 2))
