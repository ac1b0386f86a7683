"""The declaration of ``attention_prefill``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.attention_prefill import OP as _OP
from braidcheck.kernels.common.inputs import HEADS

BENCHMARK_SHAPES = {f"{tokens} tokens": {"T": tokens, **HEADS} for tokens in (512, 4096, 16384)}

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
