"""Equivalent implementations of ``linear_residual``: other roundings under the same contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import in_blocks, other_block_m, other_blocks
from braidcheck.kernels.common.variants import STYLES, Style, float32_reduction, in_styles
from braidcheck.kernels.linear_residual import linear_residual as wrapper
from braidcheck.numerics.rounding import wide


def linear_residual(style: Style, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """The op: the product stays in float32."""
    return (style.product(wide(x), wide(weight)) + wide(residual)).to(residual.dtype)


def linear_residual_rounded(style: Style, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """The op: the product is rounded to x's dtype before the sum."""
    return (wide(residual) + wide(style.product(wide(x), wide(weight)).to(x.dtype))).to(residual.dtype)


def linear_residual_by_library(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """The op: the library's product in the operands' own dtype."""
    with float32_reduction():
        return (wide(residual) + wide(torch.nn.functional.linear(x, weight))).to(residual.dtype)


OTHER_SIZES = {"default_block_m": other_block_m}
VARIANTS: dict[str, Callable[..., Any]] = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    "in blocks": in_blocks(wrapper),
    **in_styles(linear_residual, STYLES),
    "product rounded": partial(linear_residual_rounded, STYLES["split"]),
    "library": linear_residual_by_library,
}
