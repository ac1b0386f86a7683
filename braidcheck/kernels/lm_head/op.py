"""The declaration of ``lm_head``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HIDDEN, VOCAB
from braidcheck.kernels.lm_head import OP as _OP

BENCHMARK_SHAPES = {
    "1 token": {"T": 1, "H": HIDDEN, "V": VOCAB, "argmax": 1},
    "16 tokens": {"T": 16, "H": HIDDEN, "V": VOCAB, "argmax": 1},
}

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
