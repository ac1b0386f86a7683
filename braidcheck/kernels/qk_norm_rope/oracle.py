"""Reference, bound and cost of ``qk_norm_rope``.

Bound: inputs are exact, so only the norm's own roundings, the rotation's three and the last one count. The scale is a
power of two and rounds nothing short of underflow; whoever reads the scaled K divides the scores' scale by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rope, rounding
from braidcheck.op import Case, Cost


def reference(
    q: Tensor,
    k: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    eps: float,
    k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Norm per head, rotate, scale K."""
    q_out = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions, q.dtype)
    k_out = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions, k.dtype)
    return q_out.to(q.dtype), (k_out * k_scale).to(k.dtype)


def bound(
    q: Tensor,
    k: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    eps: float,
    k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """See the module's derivation."""

    def of(x: Tensor, weight: Tensor, scale: float) -> Tensor:
        normed = rope.normed_error(x.double(), torch.zeros_like(x, dtype=torch.float64), weight, eps)
        return scale * rope.rotated_error(*normed, cos_sin, positions)

    return of(q, q_norm_weight, 1.0), of(k, k_norm_weight, k_scale)


def cost(case: Case) -> Cost:
    """Q and K read and written."""
    count = case["T"] * (case["Hq"] + case["Hkv"]) * case["D"]
    return Cost(2 * count * getattr(torch, case.dtype).itemsize, 10 * count)
