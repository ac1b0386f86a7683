"""Equivalent implementations of ``qkv_rope``: other roundings under the same contract."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.common.blocks import in_blocks, other_block_m, other_blocks
from braidcheck.kernels.common.inputs import EPS
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, in_styles
from braidcheck.kernels.qkv_rope import qkv_rope as wrapper
from braidcheck.kernels.qkv_rope.oracle import split_heads
from braidcheck.numerics.rounding import wide


def qkv_rope(
    style: Style,
    x: Tensor,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, ...]:
    """The op, its product and norm in one of the styles."""
    qkv = style.product(style.operand(x, qkv_weight.dtype), wide(qkv_weight))
    if qkv_bias is not None:
        qkv = qkv + wide(qkv_bias)
    q, k, v = split_heads(qkv, num_heads, num_kv_heads, head_dim)
    if q_norm_weight is not None and k_norm_weight is not None:
        q, k = style.norm(q, wide(q_norm_weight), eps), style.norm(k, wide(k_norm_weight), eps)
    q, k = style.rotate(q, cos_sin, positions), style.rotate(k, cos_sin, positions)
    return tuple(part.to(qkv_weight.dtype) for part in (q, k, v))


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    "in blocks": in_blocks(wrapper),
    **in_styles(qkv_rope, STYLES | UNROUNDED),
}
