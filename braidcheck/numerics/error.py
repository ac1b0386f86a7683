"""Tensors in, Errors out: how far an output lies from the exact answer, in units of what its contract permits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.numerics.rounding import ROUNDOFF, UNDERFLOW


@dataclass(frozen=True)
class Errors:
    """Distances of one output from the exact one.

    ``error_ratio`` is the largest part of the bound that any element uses (0 for a correctly rounded result, infinite
    for a NaN or infinity where a number belongs, and for a number where nothing belongs); ``relative`` the 2-norm of
    the error over that of the exact output, 0 for integers; ``largest`` the largest absolute error; ``nonfinite``
    counts NaN and infinities where a number belongs; ``index``, ``got``, ``exact`` and ``allowed`` show the worst
    element.
    """

    error_ratio: float
    relative: float
    largest: float
    nonfinite: int
    index: tuple[int, ...] = ()
    got: float = 0.0
    exact: float = 0.0
    allowed: float = 0.0


def error_ratios(got: Tensor, exact: Tensor, tolerance: Tensor) -> Tensor:
    """Per element, the part of the bound used, float64: ``max(0, |v-y| - u max(|y|,|v|) - eta) / tolerance``.

    ``got`` is the output in its own dtype, which fixes u and eta; ``exact`` and ``tolerance`` are float64 of its shape.
    For integers ``tolerance`` is [T, choices], the error ratio of each choice.
    """
    if not got.is_floating_point():
        return _choice_error_ratios(got, tolerance)
    value = got.double()
    size = torch.maximum(value.abs(), exact.abs())
    excess = ((value - exact).abs() - ROUNDOFF[got.dtype] * size - UNDERFLOW[got.dtype]).clamp_min(0.0)
    error_ratio = torch.where(excess == 0, excess, excess / tolerance)
    error_ratio = torch.where(torch.isfinite(value), error_ratio, torch.full_like(error_ratio, torch.inf))
    nothing = exact.isnan()
    return torch.where(nothing, torch.where(value.isnan(), 0.0, torch.inf), error_ratio)


def _choice_error_ratios(got: Tensor, table: Tensor) -> Tensor:
    """Shares of integer outputs [T]: ``table`` [T, choices] holds the error ratio that each choice uses."""
    known = (got >= 0) & (got < table.shape[1])
    chosen = table.gather(1, got.clamp(0, table.shape[1] - 1)[:, None])[:, 0].clamp_min(0)
    return torch.where(known, chosen, torch.inf)


def distance(got: Tensor, exact: Tensor, tolerance: Tensor) -> Errors:
    """The Errors of one output; see ``error_ratios`` for the arguments."""
    if not got.numel():
        return Errors(0.0, 0.0, 0.0, 0)
    error_ratio = error_ratios(got, exact, tolerance).flatten()
    worst = int(error_ratio.argmax())
    known = ~exact.isnan()
    exact = exact.double()
    value = got.double()
    norm = exact[known].norm()
    relative = float((value - exact)[known].norm() / norm) if norm > 0 else float(value[known].norm())
    if not got.is_floating_point():
        relative = 0.0  # how far apart two choices lie says nothing
    allowed = 0.0
    if got.is_floating_point():
        allowed = float(tolerance.flatten()[worst] + ROUNDOFF[got.dtype] * exact.flatten()[worst].abs())
    return Errors(
        error_ratio=float(error_ratio[worst]),
        relative=relative,
        largest=float((value - exact)[known].abs().max()) if known.any() else 0.0,
        nonfinite=int((~torch.isfinite(value) & known).sum()),
        index=tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape)),
        got=float(value.flatten()[worst]),
        exact=float(exact.flatten()[worst]),
        allowed=allowed,
    )
