"""Equivalent implementations of ``attention_decode``: other roundings under the same contract."""

from __future__ import annotations

from braidcheck.kernels.common.variants import STYLES, UNROUNDED, attend_cached, in_styles

VARIANTS = in_styles(attend_cached, STYLES | UNROUNDED)
