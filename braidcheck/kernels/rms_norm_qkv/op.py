"""The declaration of ``rms_norm_qkv``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HEADS, HIDDEN, by_tokens
from braidcheck.kernels.rms_norm_qkv import OP as _OP

BENCHMARK_SHAPES = by_tokens(128, H=HIDDEN, **HEADS)

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
