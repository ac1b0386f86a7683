"""The declaration of ``linear_residual``."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.kernels.common.inputs import HIDDEN, INNER, by_tokens
from braidcheck.kernels.linear_residual import OP as _OP

BENCHMARK_SHAPES = by_tokens(K=INNER, H=HIDDEN)

OP = replace(_OP, benchmark_shapes=BENCHMARK_SHAPES)
