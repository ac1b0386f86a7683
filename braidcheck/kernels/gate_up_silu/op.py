"""The declaration of ``gate_up_silu``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HIDDEN, INNER, by_tokens
from braidcheck.kernels.gate_up_silu import OP as _OP

BENCHMARK_SHAPES = by_tokens(H=HIDDEN, I=INNER, norm=1)

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
