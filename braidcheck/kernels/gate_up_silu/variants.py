"""Equivalent implementations of ``gate_up_silu``: other roundings under the same contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import in_blocks, other_block_m, other_blocks
from braidcheck.kernels.common.inputs import EPS
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, float32_reduction, in_styles
from braidcheck.kernels.gate_up_silu import gate_up_silu as wrapper
from braidcheck.numerics.rounding import wide


def gate_up_silu(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """The op: all in float32, SiLU with a power of two."""
    gate, up = style.product(_operand(style, x, weight, norm_weight, eps), wide(weight)).chunk(2, dim=-1)
    return (gate / (1.0 + torch.exp2(gate * -1.4426950408889634)) * up).to(weight.dtype)


def gate_up_silu_rounded(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """The op: gate, up and silu(gate) rounded to the weight's dtype, as HF transformers does."""
    both = style.product(_operand(style, x, weight, norm_weight, eps), wide(weight)).to(weight.dtype)
    gate, up = both.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def gate_up_silu_by_library(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """The op: the same roundings, the product by the library in the weight's dtype."""
    with float32_reduction():
        both = torch.nn.functional.linear(_operand(style, x, weight, norm_weight, eps).to(weight.dtype), weight)
    gate, up = both.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def _operand(style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float) -> Tensor:
    if norm_weight is None:
        return wide(x)
    return style.operand(style.norm(wide(x), wide(norm_weight), eps), weight.dtype)


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS: dict[str, Callable[..., Any]] = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    "in blocks": in_blocks(wrapper),
    **in_styles(gate_up_silu, STYLES | UNROUNDED),
    "gate, up, silu rounded": partial(gate_up_silu_rounded, STYLES["split"]),
    "library": partial(gate_up_silu_by_library, STYLES["split"]),
}
