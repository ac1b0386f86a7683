"""Equivalent implementations of ``qk_norm_rope``: other roundings under the same contract."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.common.variants import STYLES, Style, in_styles
from braidcheck.kernels.qk_norm_rope import qk_norm_rope as wrapper
from braidcheck.numerics.rounding import wide


def qk_norm_rope(
    style: Style,
    q: Tensor,
    k: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    eps: float,
    k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The op in one of the styles; the scale goes into K's norm weight, where a power of two rounds nothing."""
    q_out = style.rotate(style.norm(wide(q), wide(q_norm_weight), eps), cos_sin, positions)
    k_out = style.rotate(style.norm(wide(k), wide(k_norm_weight) * k_scale, eps), cos_sin, positions)
    return q_out.to(q.dtype), k_out.to(k.dtype)


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    **in_styles(qk_norm_rope, STYLES),
}
