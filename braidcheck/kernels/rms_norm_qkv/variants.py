"""Equivalent implementations of ``rms_norm_qkv``: other roundings under the same contract."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import in_blocks, other_block_m, other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, in_styles
from braidcheck.kernels.rms_norm_qkv import rms_norm_qkv as wrapper
from braidcheck.numerics.rounding import wide


def rms_norm_qkv(
    style: Style,
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    eps: float,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:
    """The op, its product and norm in one of the styles."""
    qkv = style.product(style.operand(style.norm(wide(x), wide(norm_weight), eps), qkv_weight.dtype), wide(qkv_weight))
    if qkv_bias is not None:
        qkv = qkv + wide(qkv_bias)
    heads = qkv.to(out_dtype or qkv_weight.dtype).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    "in blocks": in_blocks(wrapper),
    **in_styles(rms_norm_qkv, STYLES | UNROUNDED),
}
