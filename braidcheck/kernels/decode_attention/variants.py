"""Equivalent implementations of ``decode_attention``: other roundings under the same contract."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, attend_cached, in_styles
from braidcheck.kernels.decode_attention import decode_attention as wrapper
from braidcheck.numerics.rounding import wide


def decode_attention(
    style: Style,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> Tensor:
    """The op in one of the styles: the new token first, then row by row over the cache, without splits."""
    dtype, rows = k_cache.dtype, torch.arange(len(q), device=q.device)
    query = style.operand(style.rotate(style.norm(wide(q), wide(q_norm_weight), eps), cos_sin, positions), dtype)
    key = style.rotate(style.norm(wide(k), wide(k_norm_weight), eps), cos_sin, positions)
    k_cache[rows, positions], v_cache[rows, positions] = key.to(dtype), v.to(dtype)
    return attend_cached(style, query, k_cache, v_cache, positions + 1, scale).to(dtype)


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    **in_styles(decode_attention, STYLES | UNROUNDED),
}


def three_kernels(
    ops: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> Tensor:
    """The op by three kernels instead of one; ``split_counter`` is not used."""
    rotated = ops.qk_norm_rope(wide(q), wide(k), q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    query, key, value = (part.to(k_cache.dtype) for part in (*rotated, v))
    ops.cache_write(key, value, k_cache, v_cache, torch.arange(len(q), device=q.device), positions)
    return ops.attention_decode(query, k_cache, v_cache, positions + 1, scale)


COMPOSITIONS = {"three kernels": three_kernels}
