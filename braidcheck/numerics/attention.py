"""Softmax attention in PyTorch, and its error from float32 scores and a narrow P.

Score s_j = scale * q.k_j: error ds_j = u32 (4 sqrt(D) scale sum|q||k_j| + 3 |s_j| + 3 |s_j - m|): the dot, the scaling
by a rounded scale * log2(e), the subtraction of the maximum m and the exponential's argument. The output moves by
sum_j p_j ds_j |v_j - o| (first order; times exp(2 max ds) when that is not small), then P is rounded to v's dtype
(declared; before or after the row sum is taken), and P.V is a float32 dot over the keys, divided by a float32 sum of
terms of one sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.numerics import rounding

CHUNK = 2**24  # scores in memory at a time


@dataclass(frozen=True)
class ScoreRule:
    """What a convention does to scores: a query sees the last ``window`` of its keys, its own included, and a score s
    becomes softcap * tanh(s / softcap); 0 does neither."""

    window: int = 0
    softcap: float = 0.0

    def seen(self, mask: Tensor) -> Tensor:
        """The keys of mask[T,S] that lie in each query's window."""
        return mask & (mask.flip(-1).cumsum(-1).flip(-1) <= self.window) if self.window else mask

    def capped(self, scores: Tensor) -> Tensor:
        """The scaled scores, capped."""
        return torch.tanh(scores / self.softcap) * self.softcap if self.softcap else scores


PLAIN = ScoreRule()
score_rule: ContextVar[ScoreRule] = ContextVar("score_rule", default=PLAIN)  # of the references


def scores_of(q: Tensor, k: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Scores[T,G,S] of q[T,G,D] and k[S,D], minus infinity where mask[T,S] or the rule hides the key."""
    products = torch.einsum("...tgd,...sd->...tgs", rounding.wide(q), rounding.wide(k))
    scores = rounding.cast_at("scores", rounding.cast_at("scores", products, q.dtype) * scale, q.dtype)
    rule = score_rule.get()
    scores = rounding.cast_at("scores", rule.capped(scores), q.dtype) if rule.softcap else scores
    return scores.masked_fill(~rule.seen(mask)[..., None, :], -math.inf)


def log_sum_exp(q: Tensor, k: Tensor, scale: float, mask: Tensor) -> Tensor:
    """The natural logarithm [T,G] of the sum of the scores' exponentials; minus infinity where no key is seen."""
    return torch.logsumexp(scores_of(q, k, scale, mask), -1)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Softmax attention of one KV head: q[T,G,D], k[S,D], v[S,D], mask[T,S] (True = seen) -> [T,G,D].

    All but the mask may have the same further axes before these.
    A row that sees nothing gives zeros, one with a NaN among its scores NaN.
    """
    p = torch.softmax(scores_of(q, k, scale, mask), dim=-1)
    p = p.masked_fill(~mask.any(-1)[..., None, None], 0.0)
    return torch.einsum("...tgs,...sd->...tgd", rounding.wide(p.to(v.dtype)), rounding.wide(v)).to(q.dtype)


def attend_bound(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor, cast: torch.dtype,
    q_error: Tensor | None = None, k_error: Tensor | None = None, v_error: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The permitted error of ``attend`` for the same float64 arguments, [T,G,D]; ``cast`` is P's dtype. Errors of the
    operands themselves (same shapes) are independent within a head.
    """
    scores = torch.einsum("...tgd,...sd->...tgs", q, k) * scale
    hidden = ~mask[..., None, :]
    top = scores.masked_fill(hidden, -math.inf).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    p = torch.exp((scores - top).masked_fill(hidden, -math.inf))
    p = p / p.sum(-1, keepdim=True).clamp_min(1e-300)
    magnitude = torch.einsum("...tgd,...sd->...tgs", q.abs(), k.abs()) * scale
    shift = rounding.U32 * (4 * math.sqrt(q.shape[-1]) * magnitude + 3 * scores.abs() + 3 * (scores - top).abs())
    if q_error is not None and k_error is not None:
        for one, other in ((q_error, k.abs()), (q.abs(), k_error)):
            total = torch.einsum("...tgd,...sd->...tgs", one, other)
            norm = torch.einsum("...tgd,...sd->...tgs", one.square(), other.square()).sqrt()
            shift = shift + scale * rounding.independent(total, norm)
    shift = torch.where(hidden | (p == 0), torch.zeros_like(shift), shift)
    out = torch.einsum("...tgs,...sd->...tgd", p, v)
    # sum_j a_j |v_j - o| <= sum_j a_j |v_j| + |o| sum_j a_j, and the difference matters: taken exactly, per key.
    weight = p * shift * torch.exp(2 * shift.amax(-1, keepdim=True))
    moved = torch.stack(
        [
            (weight[..., g, :, None] * (v[..., None, :, :] - out[..., g, None, :]).abs()).sum(-2)
            for g in range(p.shape[-2])
        ],
        -2,
    )
    spread = torch.einsum("...tgs,...sd->...tgd", p, v.abs())
    keys = max(1, int(mask.sum(-1).max())) if mask.numel() else 1
    error = moved + rounding.dot_error(spread, keys) + (rounding.sum_error(keys) + 4 * rounding.U32) * out.abs()
    if v_error is not None:
        error = error + torch.einsum("...tgs,...sd->...tgd", p, v_error)
    if cast != torch.float32:
        # The row sum may be taken from the rounded P too: sum_j p_j delta_j (v_j - o).
        norm = torch.einsum("...tgs,...sd->...tgd", p.square(), v.square()).sqrt()
        norm = norm + out.abs() * p.norm(dim=-1, keepdim=True)
        error = error + rounding.cast_error(cast, spread + out.abs(), norm)
    return error


def row_chunks(rows: int, keys: int, width: int) -> Iterator[slice]:
    """Slices of query rows small enough that [rows, keys, width] fits in memory."""
    step = max(1, CHUNK // max(1, keys * width))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
