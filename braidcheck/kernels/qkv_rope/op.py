"""The declaration of ``qkv_rope``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HEADS, HIDDEN, POSITIONS, by_tokens
from braidcheck.kernels.qkv_rope import OP as _OP

BENCHMARK_SHAPES = by_tokens(H=HIDDEN, **HEADS, P=POSITIONS, norm=1, narrow=1)

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
