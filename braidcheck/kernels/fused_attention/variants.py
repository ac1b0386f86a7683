"""Equivalent implementations of ``fused_attention``: other roundings under the same contract."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import other_block_m, other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, in_styles
from braidcheck.kernels.fused_attention import fused_attention as wrapper
from braidcheck.kernels.fused_attention.oracle import places
from braidcheck.numerics.rounding import wide


def fused_attention(
    style: Style,
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
    """The op in one of the styles: the new tokens first, then row by row over the cache."""

    def rotated(x: Tensor, norm: Tensor, at: Tensor) -> Tensor:
        return style.rotate(style.norm(wide(x), wide(norm), eps), cos_sin, at)

    dtype, pre_rope = qkv_weight.dtype, cache in ("pre_rope", "raw")
    operand = style.operand(style.norm(wide(hidden), wide(norm_weight), eps), dtype)
    qkv = style.product(operand, wide(qkv_weight)).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    q, k, v = qkv.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    q = style.operand(rotated(q, q_norm_weight, positions), dtype)
    k = k if pre_rope else rotated(k, k_norm_weight, positions)
    rows, slots = places(len(hidden), len(k_cache), lengths)
    k_cache[rows, slots], v_cache[rows, slots] = k.to(dtype), v.to(dtype)
    heads = torch.zeros_like(q)
    for row in range(len(k_cache)):
        of_row = (rows == row).nonzero().flatten()
        slots_of_row = torch.arange(int(lengths[row]), device=q.device)
        keys, values = k_cache[row, : len(slots_of_row)], v_cache[row, : len(slots_of_row)]
        if pre_rope:
            keys = style.operand(rotated(keys, k_norm_weight, slots_of_row), dtype)
        grouped = q[of_row].unflatten(1, (num_kv_heads, -1))
        mask = slots_of_row[None, :] <= slots[of_row][:, None]
        heads[of_row] = style.attend(grouped, keys, values, scale, mask).flatten(1, 2)
    return style.product(style.operand(heads, dtype).flatten(1), wide(o_weight)).to(o_weight.dtype)


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    **in_styles(fused_attention, STYLES | UNROUNDED),
}


def five_kernels(
    ops: Any,
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
) -> Tensor:
    """The op by five kernels instead of three; the cache is always "post_rope", so there is no such argument."""
    q, k, v = ops.qkv_rope(
        ops.rms_norm(hidden, norm_weight, eps),
        qkv_weight,
        cos_sin,
        positions,
        num_heads,
        num_kv_heads,
        head_dim,
        q_norm_weight=q_norm_weight,
        k_norm_weight=k_norm_weight,
        eps=eps,
    )
    ops.cache_write(k, v, k_cache, v_cache, *places(len(hidden), len(k_cache), lengths))
    if len(hidden) == len(k_cache):
        heads = ops.attention_decode(q, k_cache, v_cache, lengths, scale)
    else:
        length = int(lengths[0])
        heads = ops.attention_prefill(q, k_cache[0, :length], v_cache[0, :length], scale, length - len(q))
    nothing = torch.zeros(len(hidden), len(o_weight), dtype=o_weight.dtype, device=hidden.device)
    return ops.linear_residual(heads.flatten(1), o_weight, nothing)


COMPOSITIONS = {"five kernels": five_kernels}
