"""The declaration of ``attention_step``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.attention_step import OP as _OP
from braidcheck.kernels.common.inputs import HEADS

BENCHMARK_SHAPES = {  # wide: Q, K and V come as float32
    "1 row of 128": {"B": 1, "S": 128, **HEADS, "wide": 1},
    "1 row of 2048": {"B": 1, "S": 2048, **HEADS, "wide": 1},
    "1 row of 32768": {"B": 1, "S": 32768, **HEADS, "wide": 1},
    "16 rows of 2048": {"B": 16, "S": 2048, **HEADS, "wide": 1},
}

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
