"""Equivalent implementations of ``fused_attention``: other roundings under the same contract."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, in_styles
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


VARIANTS = in_styles(fused_attention, STYLES | UNROUNDED)
