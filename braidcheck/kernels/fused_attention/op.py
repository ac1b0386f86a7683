"""The declaration of ``fused_attention``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HEADS, HIDDEN
from braidcheck.kernels.fused_attention import OP as _OP

BENCHMARK_SHAPES = {
    "1 row of 2048": {"T": 1, "B": 1, "S": 2048, "H": HIDDEN, **HEADS},
    "16 rows of 2048": {"T": 16, "B": 16, "S": 2048, "H": HIDDEN, **HEADS},
    "512 tokens": {"T": 512, "B": 1, "S": 512, "H": HIDDEN, **HEADS},
    "4096 tokens": {"T": 4096, "B": 1, "S": 4096, "H": HIDDEN, **HEADS},
}

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
