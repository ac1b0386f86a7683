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
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from braidcheck.numerics.rounding import ROUNDOFF, UNDERFLOW

LEVEL = 1e-9
DEVIATIONS = math.sqrt(2 * math.log(4 / LEVEL))  # two tails and two sums of each output
MIN_ROWS = math.ceil(DEVIATIONS**2)  # fewer agreeing rows prove nothing


def ratio(got: Tensor, exact: Tensor, tolerance: Tensor, systematic: Tensor) -> float:
    """The bias of the errors over its limit: above 1, rounding does not explain it. All arguments have one shape, with
    rows along the first axis; all but ``got`` are float64.
    """
    value = got.double()
    known = value.isfinite() & exact.isfinite() & tolerance.isfinite() & (tolerance > 0)
    if not known.any():
        return 0.0
    row = torch.arange(len(known), device=known.device).repeat_interleave(known.reshape(len(known), -1).sum(1))
    value, exact, tolerance, systematic = (part[known] for part in (value, exact, tolerance, systematic))
    last = ROUNDOFF[got.dtype] * torch.maximum(value.abs(), exact.abs()) + UNDERFLOW[got.dtype]
    weight = torch.where(_is_first_of_value(exact), 1 / (tolerance + last), 0.0)
    error, tolerance, systematic, last = (weight * part for part in (value - exact, tolerance, systematic, last))
    shared = _by_row(systematic, row, len(known)) / 2
    return max(
        max(_ratio_of_all(signed, tolerance, last), _ratio_of_rows(_by_row(signed, row, len(known)), shared))
        for signed in (error, error * exact.sign())
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


def _ratio_of_rows(sums: Tensor, shared: Tensor) -> float:
    """The sum of the rows' sums over the limit "rows agree"; ``shared`` is each row's half of the systematic part."""
    if int((sums != 0).sum()) < MIN_ROWS:
        return 0.0
    return float((sums.sum().abs() - shared.sum()).clamp_min(0) / (DEVIATIONS * (sums.norm() + shared.norm())))
