"""Building blocks of rounding analysis for the ops' bounds. All take and return float64. Sources: Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., ch. 3-4 (dot products); Higham & Mary 2019, "A new approach to probabilistic
rounding error analysis" (sqrt(k) growth); Blanchard, Higham, Lopez, Mary & Pranesh 2020, "Mixed precision block fused
multiply-add" (tensor cores).
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = (
    "ROUNDOFF",
    "UNDERFLOW",
    "cast_at",
    "cast_error",
    "dot_error",
    "independent",
    "norm_error",
    "projection_error",
    "rms_normed",
    "sum_error",
    "wide",
)

ROUNDOFF = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float64: 2.0**-53}
UNDERFLOW = {torch.float32: 2.0**-126, torch.bfloat16: 2.0**-134, torch.float16: 2.0**-25, torch.float64: 0.0}
U32 = ROUNDOFF[torch.float32]


def wide(tensor: Tensor) -> Tensor:
    """The numbers in float32, or float64 if they are already: the type in which references compute."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True)
class NormWeight:
    """How a norm is weighted: by weight plus ``offset``, after rounding to the weight's dtype if ``rounded``."""

    rounded: bool = False
    offset: float = 0.0

    def applied(self, normed: Tensor, weight: Tensor) -> Tensor:
        """The normalised numbers with their weight."""
        if self.rounded:
            normed = wide(normed.to(weight.dtype))
        return normed * (wide(weight) + self.offset if self.offset else wide(weight))


PLAIN = NormWeight()
norm_weight: ContextVar[NormWeight] = ContextVar("norm_weight", default=PLAIN)  # of the references
cast_points: ContextVar[frozenset[str]] = ContextVar("cast_points", default=frozenset())  # that conventions add


def cast_at(point: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers, rounded to ``dtype`` if a convention adds the cast point ``point`` to references."""
    return wide(tensor.to(dtype)) if point in cast_points.get() else tensor


def rms_normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis in float32, or in float64 if x is; for ops with a fused norm."""
    exact = wide(x)
    normed = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + eps)
    return norm_weight.get().applied(normed, weight)


def dot_error(magnitude: Tensor, length: int) -> Tensor:
    """Error of a dot of ``length`` terms accumulated in float32 in any order; ``magnitude`` = sum of |terms|.

    The square root is the probabilistic growth of a sum in any order; the linear part is the tensor core's truncation,
    which is biased and does not average out. Measured on an H200 (2026-11-21, triton 3.6, bf16 operands, blocks of
    128), largest error in u32 * sum|t|: same-sign data 4.7 at k = 256, 27 at 1024, 201 at 4096, 1297 at 16384, 3643 at
    40960, all one way; half of one sign, half of the other 370 and random signs 26 at 40960.
    """
    return U32 * (4 * math.sqrt(length) + length / 4) * magnitude


def sum_error(length: int) -> float:
    """Relative error of a float32 sum of ``length`` terms of one sign outside tensor cores."""
    return U32 * 4 * math.sqrt(length)


def independent(magnitude: Tensor, norm: Tensor) -> Tensor:
    """The sum of independent errors: their 2-norm five times, or the sum of their sizes if that is less.

    A rounding's standard deviation is at most 0.41 of a unit roundoff, so five norms are 12 standard deviations and
    half of that is 6: one element in 1e9. (Four norms left 2e-6 of the elements of a 152k-token vocabulary above half.)
    """
    return torch.minimum(magnitude, 5 * norm)


def cast_error(dtype: torch.dtype, magnitude: Tensor, norm: Tensor) -> Tensor:
    """Error of a sum when one operand of each term is rounded to ``dtype``.

    ``magnitude`` = sum of |terms|, ``norm`` = their 2-norm. Where a single term dominates a correct rounding can reach
    the worst case, which counts twice so that it uses half of the bound.
    """
    return ROUNDOFF[dtype] * independent(2 * magnitude, norm)


def norm_error(width: int) -> float:
    """Relative error of x / rms(x) * weight in float32: half a sum's (by the square root) and six roundings."""
    return sum_error(width) / 2 + 6 * U32


def projection_error(x: Tensor, weight: Tensor, cast: torch.dtype | None, operand_error: float = 0.0) -> Tensor:
    """Error of ``x @ weight.T`` in float32 accumulation: x[T,K], weight[N,K] in float64 -> [T,N].

    ``cast`` is the type to which x is rounded first, if it is; ``operand_error`` the relative error x already has.
    """
    magnitude = x.abs() @ weight.abs().T
    error = dot_error(magnitude, x.shape[-1]) + operand_error * magnitude
    if cast is not None:
        error = error + cast_error(cast, magnitude, (x.square() @ weight.square().T).sqrt())
    return error
