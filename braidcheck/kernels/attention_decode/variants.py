"""Equivalent implementations of ``attention_decode``: other roundings under the same contract."""

from __future__ import annotations

from braidcheck.kernels.attention_decode import attention_decode as wrapper
from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, attend_cached, in_styles

VARIANTS = {
    "other blocks": other_blocks(wrapper),
    **in_styles(attend_cached, STYLES | UNROUNDED),
}
