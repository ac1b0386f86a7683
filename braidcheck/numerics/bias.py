"""Tests whether the errors of an output are biased. Rounding errors are not; a bound per element cannot detect bias.

With e_i the error of element i, r_i = u |y_i| + eta its last rounding, t_i its tolerance and the weight
w_i = 1 / (t_i + r_i), two sums of errors are compared with what roundings explain: of s_i = 1 (all too large) and of
s_i = sign(y_i) (all too large in size). Of elements with the same answer y_i, which round alike, one counts. By chance
each of the two limits is passed in one of 1 / ``LEVEL`` outputs at most.

*Half of the bound.* An equivalent implementation stays below half of the bound at every element (gate ``soak``), so all
that precedes the last rounding moves the sum by at most ``sum w t / 2``. Last roundings are independent, of zero mean
and at most r_i: by Hoeffding's inequality ``|sum w s e| <= sum w t / 2 + DEVIATIONS * norm(w r)``. A bias of 0.9 t on
all of n elements is seen from ``n = (DEVIATIONS (1 + 0.4) / 0.4 * r / t)**2`` on: at once in float32 or where operands
are rounded, never where t is far below the last rounding, as of a norm in bfloat16 (r / t = 1000: 5e8 elements).

*Rows agree.* Casts to 16 bits of different rows are independent and as often too large as too small, so the sums S_j of
the rows are symmetric but for the systematic part c_i of the tolerance, that of float32 arithmetic, of which again half
counts. Efron (1969): of independent symmetric terms ``|sum S_j| <= DEVIATIONS * norm(S)``, whatever their sizes. It
takes ``MIN_ROWS`` rows, and a bias of all rows is seen though it is far below the casts that the contract permits.

*Casts that lean.* Casts are not always as often too large as too small. Where a sum is rounded whose larger term lies
on the grid of its 16-bit type, as where RoPE adds rounded products, the smaller term is lost if it is below half of a
step: in all rows alike. The reference in the types of the contract makes these casts, so its own errors B_j lean alike,
and an implementation that makes some of them has a part of that: S_j - a B_j is symmetric for some a in [0, 1]. The a
that explains S best counts, so a bias is seen that is larger than the casts of the contract explain.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from braidcheck.numerics.rounding import ROUNDOFF, UNDERFLOW

LEVEL = 1e-9
DEVIATIONS = math.sqrt(2 * math.log(4 / LEVEL))  # two tails and two sums of each output
MIN_ROWS = math.ceil(DEVIATIONS**2)  # fewer agreeing rows prove nothing


def ratio(got: Tensor, exact: Tensor, tolerance: Tensor, systematic: Tensor, baseline: Tensor | None = None) -> float:
    """The bias of the errors over its limit: above 1, rounding does not explain it. All arguments have one shape, with
    rows along the first axis; all but ``got`` and ``baseline``, the reference in the types of the contract, are
    float64.
    """
    value, cast = got.double(), exact if baseline is None else baseline.double()
    known = value.isfinite() & exact.isfinite() & tolerance.isfinite() & (tolerance > 0)
    if not known.any():
        return 0.0
    row = torch.arange(len(known), device=known.device).repeat_interleave(known.reshape(len(known), -1).sum(1))
    cast = torch.where(cast.isfinite(), cast, exact)
    value, exact, tolerance, systematic, cast = (part[known] for part in (value, exact, tolerance, systematic, cast))
    last = ROUNDOFF[got.dtype] * torch.maximum(value.abs(), exact.abs()) + UNDERFLOW[got.dtype]
    weight = torch.where(_is_first_of_value(exact), 1 / (tolerance + last), 0.0)
    error, casts = weight * (value - exact), weight * (cast - exact)
    tolerance, systematic, last = (weight * part for part in (tolerance, systematic, last))
    of_rows = partial(_by_row, row=row, count=len(known))
    return max(
        max(
            _ratio_of_all(error * sign, tolerance, last),
            _ratio_of_rows(of_rows(error * sign), of_rows(systematic) / 2, of_rows(casts * sign)),
        )
        for sign in (torch.ones_like(exact), exact.sign())
    )


def _is_first_of_value(exact: Tensor) -> Tensor:
    """True at the first element of each value."""
    values, which = torch.unique(exact.nan_to_num(), return_inverse=True)
    indices = torch.arange(exact.numel(), device=exact.device)
    first = indices.new_zeros(len(values)).scatter_reduce(0, which.flatten(), indices, "amin", include_self=False)
    mask = torch.zeros_like(indices, dtype=torch.bool)
    mask[first] = True
    return mask.view(exact.shape)


def _ratio_of_all(error: Tensor, tolerance: Tensor, last: Tensor) -> float:
    """The sum of all errors over the limit "half of the bound"."""
    return float(error.sum().abs() / (tolerance.sum() / 2 + DEVIATIONS * last.norm()))


def _by_row(parts: Tensor, row: Tensor, count: int) -> Tensor:
    return parts.new_zeros(count).index_add_(0, row, parts)


def _ratio_of_rows(sums: Tensor, shared: Tensor, casts: Tensor) -> float:
    """The sum of the rows' sums over the limit "rows agree"; ``shared`` is each row's half of the systematic part,
    ``casts`` the error of the contract's casts, of which the part that explains most is taken off."""
    if int((sums != 0).sum()) < MIN_ROWS:
        return 0.0
    part = float((sums.sum() / casts.sum()).nan_to_num(0.0).clamp(0, 1))
    sums = sums - part * casts
    return float((sums.sum().abs() - shared.sum()).clamp_min(0) / (DEVIATIONS * (sums.norm() + shared.norm())))
