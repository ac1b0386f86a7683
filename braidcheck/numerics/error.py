"""Measures the error of an output against the exact answer, in units of what its contract permits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.numerics import bias
from braidcheck.numerics.rounding import ROUNDOFF, UNDERFLOW

MIN_NARROW = 4  # elements: by chance, all float32 results are 16-bit numbers in one of 2**52 outputs


@dataclass(frozen=True)
class Errors:
    """Distances of one output from the exact one.

    ``error_ratio`` is the largest of any element: 0 for a correctly rounded result, infinite for a NaN where a number
    belongs and for a number where nothing belongs. ``relative`` is the 2-norm of the error over that of the exact
    output, 0 for integers; ``largest`` the largest absolute error; ``bias`` how far the errors lean to one side, over
    what roundings explain (``numerics.bias``); ``narrow`` the 16-bit type that all of a float32 output was rounded to,
    if it was. ``nonfinite`` counts NaN and infinities where a number belongs. ``index``, ``got``, ``exact`` and
    ``allowed`` are the worst element's, ``allowed`` with the last rounding.
    """

    error_ratio: float
    relative: float
    largest: float
    nonfinite: int
    bias: float = 0.0
    narrow: str = ""
    index: tuple[int, ...] = ()
    got: float = 0.0
    exact: float = 0.0
    allowed: float = 0.0


def error_ratios(got: Tensor, exact: Tensor, tolerance: Tensor) -> Tensor:
    """Per element, the part of the bound used, float64: ``max(0, |v-y| - u max(|y|,|v|) - eta) / tolerance``.

    ``got`` is the output in its own dtype, which fixes u and eta; ``exact`` and ``tolerance`` are float64 of its shape.
    For integers ``tolerance`` is [T, choices], the error ratio of each choice.

    | exact  | got NaN | the same infinity | the other infinity | a number |
    |--------|---------|-------------------|--------------------|----------|
    | NaN    | 0       | inf               | inf                | inf      |
    | +-inf  | inf     | 0                 | inf                | inf      |
    | number | inf     | overflow          | overflow           | as above |

    The exact answer is NaN where nothing may be written, and where a NaN went in. *overflow*: how far the exact number
    is below the smallest one that rounds to this infinity, over the tolerance; 0 where infinity is the right rounding.
    """
    if not got.is_floating_point():
        return _choice_error_ratios(got, tolerance)
    value = got.double()
    excess = torch.where(value.isinf(), _short_of_overflow(value, exact, got.dtype), _past_rounding(value, exact, got))
    ratio = torch.where(excess == 0, excess, excess / tolerance).nan_to_num(nan=torch.inf, posinf=torch.inf)
    ratio = torch.where(exact.isinf(), torch.where(value == exact, 0.0, torch.inf), ratio)
    return torch.where(exact.isnan(), torch.where(value.isnan(), 0.0, torch.inf), ratio)


def _past_rounding(value: Tensor, exact: Tensor, got: Tensor) -> Tensor:
    """The part of the error beyond one rounding to got's dtype."""
    size = torch.maximum(value.abs(), exact.abs())
    return ((value - exact).abs() - ROUNDOFF[got.dtype] * size - UNDERFLOW[got.dtype]).clamp_min(0.0)


def _short_of_overflow(value: Tensor, exact: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance of ``exact`` from the smallest number that rounds to the infinity ``value``, half a step past the
    maximum."""
    # The largest number is (2 - 2 u) 2**e, the next step would be 2 * 2**e: the middle is (2 - u) 2**e.
    unit = ROUNDOFF[dtype]
    threshold = torch.finfo(dtype).max / (2 - 2 * unit) * (2 - unit)
    return (threshold - value.sign() * exact).clamp_min(0.0)


def _choice_error_ratios(got: Tensor, table: Tensor) -> Tensor:
    """Error ratios of integer outputs [T]: ``table`` [T, choices] has the error ratio of each choice."""
    known = (got >= 0) & (got < table.shape[1])
    chosen = table.gather(1, got.clamp(0, table.shape[1] - 1)[:, None])[:, 0].clamp_min(0)
    return torch.where(known, chosen, torch.inf)


def distance(
    got: Tensor, exact: Tensor, tolerance: Tensor, systematic: Tensor | None = None, baseline: Tensor | None = None
) -> Errors:
    """The Errors of one output; see ``error_ratios`` for the arguments.

    ``systematic`` is the part of the tolerance that may be one-sided: by default all of it. ``baseline`` is the output
    of the reference in the types of the contract: how far its casts lean is no bias.
    """
    if not got.numel():
        return Errors(0.0, 0.0, 0.0, 0)
    error_ratio = error_ratios(got, exact, tolerance).flatten()
    worst = int(error_ratio.argmax())
    exact, value = exact.double(), got.double()
    is_float = got.is_floating_point()
    known = exact.isfinite() & value.isfinite()
    allowed = 0.0
    if is_float:
        size = torch.maximum(value.abs(), exact.abs()).flatten()[worst]
        allowed = float(tolerance.flatten()[worst] + ROUNDOFF[got.dtype] * size + UNDERFLOW[got.dtype])
    return Errors(
        error_ratio=float(error_ratio[worst]),
        relative=relative_error(got, exact),
        largest=float((value - exact)[known].abs().max()) if known.any() else 0.0,
        nonfinite=int((~value.isfinite() & exact.isfinite() & (error_ratio.view(got.shape) > 1)).sum()),
        bias=_bias(got, exact, tolerance, systematic, baseline) if is_float else 0.0,
        narrow=_narrow(got, exact),
        index=unravel_index(worst, got.shape),
        got=float(value.flatten()[worst]),
        exact=float(exact.flatten()[worst]),
        allowed=allowed,
    )


def _bias(got: Tensor, exact: Tensor, tolerance: Tensor, systematic: Tensor | None, baseline: Tensor | None) -> float:
    return bias.ratio(got, exact, tolerance, tolerance if systematic is None else systematic, baseline)


def largest_error_ratio(got: Tensor, exact: Tensor, tolerance: Tensor) -> float:
    """Of all elements; 0 where there is none. See ``error_ratios``."""
    return float(error_ratios(got, exact, tolerance).max()) if got.numel() else 0.0


def unravel_index(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The indices of the element with this flat index; torch.unravel_index would import sympy, for most of a second."""
    indices: list[int] = []
    for size in reversed(shape):
        flat, index = divmod(flat, size)
        indices.append(index)
    return tuple(reversed(indices))


def relative_error(got: Tensor, exact: Tensor) -> float:
    """The 2-norm of the error over that of the exact output, 0 for integers; overflows are left out."""
    if not got.is_floating_point():
        return 0.0
    exact, value = exact.double(), got.double()
    known = exact.isfinite() & value.isfinite()  # an overflow within the bound has no error that could be added up
    error, exact, value = (part.masked_fill(~known, 0.0) for part in (value - exact, exact, value))
    norm = exact.norm()
    return float(error.norm() / norm) if norm > 0 else float(value.norm())


def _narrow(got: Tensor, exact: Tensor) -> str:
    """The 16-bit type that can represent every element of a float32 output whose exact answer it cannot represent. A
    float32 number has 16 more bits than bfloat16 and 13 more than float16, which by chance are all zero in at most one
    of 2**13 elements.
    """
    if got.dtype != torch.float32:
        return ""
    rounded = exact.float()
    for narrow in (torch.bfloat16, torch.float16):
        other = got[rounded.isfinite() & (rounded.to(narrow) != rounded)]
        if len(other) >= MIN_NARROW and torch.equal(other.to(narrow).float(), other):
            return str(narrow).removeprefix("torch.")
    return ""
