"""Equivalent implementations of ``attention_prefill``: other roundings under the same contract."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from braidcheck.kernels.attention_prefill import attention_prefill as wrapper
from braidcheck.kernels.common.blocks import in_blocks, other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, Style, attend_causal, in_styles


def attention_prefill(
    style: Style, q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """The op in one of the styles: packed sequences one after another."""
    if cu_seqlens is None:
        return attend_causal(style, q, k[: q_start + len(q)], v[: q_start + len(q)], scale)
    sequences = [slice(*bounds) for bounds in itertools.pairwise(cu_seqlens.tolist())]
    return torch.cat([attend_causal(style, q[rows], k[rows], v[rows], scale) for rows in sequences])


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    "in blocks": in_blocks(wrapper),
    **in_styles(attention_prefill, STYLES | UNROUNDED),
}
