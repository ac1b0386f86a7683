"""Reference, bound and cost of ``rms_norm``.

Bound: the sum of squares has terms of one sign, so its relative error is that of a float32 sum, halved by the square
root; mean, eps, root, reciprocal and the two products round once each (Higham ch. 3). With a residual the unrounded
float32 sum is normalised: one more rounding of each element, and of the returned sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.op import Case, Cost


def reference(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> Tensor | tuple[Tensor, Tensor]:
    """RMSNorm of x + residual, in float32 or wider."""
    total = rounding.wide(x) if residual is None else rounding.wide(x) + rounding.wide(residual)
    normed = total if residual is None else rounding.cast_at("sum", total, x.dtype)
    y = rounding.rms_normed(normed, weight, eps).to(torch.float64 if x.dtype == torch.float64 else out_dtype)
    return y if residual is None else (y, total.to(x.dtype))


def bound(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, ...]:
    """See the module's derivation."""
    total = x.double() if residual is None else x.double() + residual.double()
    y = rounding.rms_normed(total, weight.double(), eps)
    if residual is None:
        return (rounding.norm_error(x.shape[-1]) * y.abs(),)
    return (rounding.norm_error(x.shape[-1]) + 2 * rounding.U32) * y.abs(), rounding.U32 * total.abs()


def cost(case: Case) -> Cost:
    """x read and y written; with a residual, that read and the sum written."""
    count, size = case["T"] * case["H"], getattr(torch, case.dtype).itemsize
    written = size if case.get("narrow") else 4
    return Cost(count * (size + written + (2 * size if case.get("residual") else 0)), 5 * count)
