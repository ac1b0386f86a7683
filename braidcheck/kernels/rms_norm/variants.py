"""Equivalent implementations of ``rms_norm``: other roundings under the same contract."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.common.variants import STYLES, Style, in_styles
from braidcheck.kernels.rms_norm import rms_norm as wrapper
from braidcheck.numerics.rounding import wide


def rms_norm(
    style: Style,
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> Tensor | tuple[Tensor, Tensor]:
    """The op, its norm in one of the styles."""
    total = wide(x) if residual is None else wide(residual) + wide(x)
    y = style.norm(total, wide(weight), eps).to(out_dtype)
    y = y if out is None else out.copy_(y)
    return y if residual is None else (y, total.to(x.dtype))


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    **in_styles(rms_norm, STYLES),
}
