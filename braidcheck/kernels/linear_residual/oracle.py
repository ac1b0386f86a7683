"""Reference, bound and cost.

The bound: a float32 dot of K products, one float32 rounding of the sum with the residual. The contract lets the product
be rounded to x's dtype before the sum, as HF transformers does (the kernels do not); like every cast's worst case it
counts twice, so that using it takes half.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.op import Case, Cost


def reference(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """A matrix product and a sum."""
    product = rounding.wide(x) @ rounding.wide(weight).T
    return (rounding.wide(residual) + product).to(residual.dtype)


def bound(x: Tensor, weight: Tensor, residual: Tensor) -> tuple[Tensor]:
    """See the module's derivation."""
    wide, exact_weight = x.double(), weight.double()
    product = wide @ exact_weight.T
    error = rounding.projection_error(wide, exact_weight, None) + 2 * rounding.ROUNDOFF[x.dtype] * product.abs()
    return (error + rounding.U32 * (product + residual.double()).abs(),)


def cost(case: Case) -> Cost:
    """Weight, x and residual read, the sum written."""
    tokens, width, length, size = case["T"], case["H"], case["K"], getattr(torch, case.dtype).itemsize
    return Cost(size * (width * length + tokens * (length + 2 * width)), 2 * tokens * width * length)
