"""Equivalent implementations of ``attention_decode``: other roundings under the same contract."""

from __future__ import annotations

from braidcheck.kernels.attention_decode import attention_decode as wrapper
from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, attend_cached, in_styles

OTHER_SIZES = {
    "BLOCK_N": 64 if INTERPRETED else 32,
    "MAX_SPLITS": 7,
}
VARIANTS = {
    "other blocks": other_blocks(wrapper, **OTHER_SIZES),
    **in_styles(attend_cached, STYLES | UNROUNDED),
}
