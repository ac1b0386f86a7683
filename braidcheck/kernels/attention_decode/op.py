"""The declaration of ``attention_decode``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.attention_decode import OP as _OP
from braidcheck.kernels.common.inputs import HEADS

BENCHMARK_SHAPES = {
    "1 row of 2048": {"B": 1, "S": 2048, **HEADS},
    "16 rows of 2048": {"B": 16, "S": 2048, **HEADS},
    "1 row of 32768": {"B": 1, "S": 32768, **HEADS},
}

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
