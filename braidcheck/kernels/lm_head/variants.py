"""Equivalent implementations of ``lm_head``: other roundings under the same contract."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.common.blocks import in_blocks, other_block_m, other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, in_styles
from braidcheck.kernels.lm_head import lm_head as wrapper
from braidcheck.numerics.rounding import wide


def lm_head(style: Style, x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """The op, its product and norm in one of the styles."""
    logits = style.product(style.operand(style.norm(wide(x), wide(norm_weight), eps), weight.dtype), wide(weight))
    return logits.argmax(-1) if argmax else logits


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    "in blocks": in_blocks(wrapper),
    **in_styles(lm_head, STYLES | UNROUNDED),
}
