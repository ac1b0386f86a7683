from __future__ import annotations

import torch
from braidcheck.kernels.throw_away.kernel import throw_away_kernel
from torch import Tensor

from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import TensorSpec
from braidcheck.kernels.common.validation import Arguments

BLOCK_M = 4
ARGUMENTS = Arguments({"x": TensorSpec("T,H")})


def throw_away(x: Tensor) -> Tensor:
    """2 * x + 1 of x[T,H] in x's dtype."""
    ARGUMENTS.check(x)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.numel():
        grid = (cdiv(x.shape[0], BLOCK_M),)
        throw_away_kernel[grid](
            x, y, x.shape[0], x.shape[1], x.stride(0), BLOCK_M=BLOCK_M, BLOCK_N=next_power_of_2(x.shape[1])
        )
    return y
