"""Rotary position embeddings: the table as in HF transformers, and the rotation in PyTorch."""

from __future__ import annotations

from contextvars import ContextVar

import torch
from torch import Tensor

from braidcheck.numerics import rounding

interleaved: ContextVar[bool] = ContextVar("interleaved", default=False)  # how the references pair a head's elements
THETA = 1e6  # Qwen3; transformers keeps it in config.rope_parameters["rope_theta"]


def rope_table(max_positions: int, head_dim: int, theta: float = THETA, device: str = "cpu") -> Tensor:
    """Cosines then sines of all rotation angles, float32 [max_positions, head_dim].

    Angles are products of float32 numbers, as in transformers: at position 40,960 they differ from float64's by
    3e-3, so the table is an input of the ops and not something a kernel may recompute.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    frequencies = 1.0 / (theta**exponents)
    angles = torch.outer(torch.arange(max_positions, dtype=torch.int64).float(), frequencies)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(device)


def angles(cos_sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, 1, D / 2] at positions[T] of the table [P, D]; NaN outside it, where Python would wrap."""
    inside = (positions >= 0) & (positions < len(cos_sin))
    table = cos_sin if len(cos_sin) else cos_sin.new_empty(1, cos_sin.shape[1])
    rows = table[positions.long().clamp(0, len(table) - 1)]
    cos, sin = rows.masked_fill(~inside[:, None], torch.nan)[:, None, :].chunk(2, dim=-1)
    return cos, sin


def rotate(x: Tensor, cos_sin: Tensor, positions: Tensor, storage: torch.dtype | None = None) -> Tensor:
    """Rotate the halves of each head: x[T, heads, D] by the table's rows at positions[T]; NaN outside the table.

    ``storage`` is the heads' dtype, to which heads, table and each step are rounded under the convention "rope"; None:
    x's. A table that is narrower than a head leaves the rest of the head as it is.
    """

    def rounded(part: Tensor) -> Tensor:
        return rounding.cast_at("rope", part, storage or x.dtype)

    cos, sin = (rounded(part.to(x.dtype)) for part in angles(cos_sin, positions))
    width, x = cos_sin.shape[-1], rounded(x)
    first, second = _pairs(x[..., :width])
    turned = rounded(first * cos) - rounded(second * sin), rounded(second * cos) + rounded(first * sin)
    return _joined([rounded(half) for half in turned], x[..., width:])


def rotated_error(x: Tensor, error: Tensor, cos_sin: Tensor, positions: Tensor) -> Tensor:
    """Error of ``rotate`` in float32 when x[T, heads, D] carries ``error``: two products and a sum, three roundings."""
    cos, sin = (part.to(x.dtype).abs() for part in angles(cos_sin, positions))
    width = cos_sin.shape[-1]
    first, second = _pairs((error + 3 * rounding.U32 * x.abs())[..., :width])
    return _joined([first * cos + second * sin, second * cos + first * sin], error[..., width:])


def _pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    if interleaved.get():
        return x[..., 0::2], x[..., 1::2]
    first, second = x.chunk(2, dim=-1)
    return first, second


def _joined(halves: list[Tensor], rest: Tensor) -> Tensor:
    joined = torch.stack(halves, dim=-1).flatten(-2) if interleaved.get() else torch.cat(halves, dim=-1)
    return torch.cat([joined, rest], dim=-1) if rest.shape[-1] else joined


def head_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis with a weight [D], in x's dtype."""
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    weighted = rounding.norm_weight.get().applied(normed, weight).to(x.dtype)
    return rounding.cast_at("heads", weighted, weight.dtype)


def normed_error(x: Tensor, error: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """``head_norm`` in float64 and the error it has in float32 when x[T, heads, D] carries ``error``.

    An element's own error e_i comes through times |w_i|/rms, and that of the sum of squares as
    |w_i x_i|/rms^3 * sum_j |x_j| e_j / D, where the e_j are independent.
    Without a weight both pass unchanged.
    """
    if weight is None:
        return x, error
    width = x.shape[-1]
    square = x.square().mean(-1, keepdim=True) + eps
    products = x.abs() * error
    shared = rounding.independent(products.sum(-1, keepdim=True), products.norm(dim=-1, keepdim=True))
    scale = weight.double().abs() * square.rsqrt()
    moved = scale * (error + x.abs() * shared / (width * square))
    return x * square.rsqrt() * weight.double(), moved + rounding.norm_error(width) * scale * x.abs()
