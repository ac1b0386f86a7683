"""What ``sample`` must draw, how far off it may be, and what it costs.

Bound: the error ratio of a token that top-k drops is infinite. A weight e^z of a probability has an error of
u32*(8|z| + 8): difference, quotient, product with log2(e) and the exponential. A sum of weights has the errors of its
terms and that of a float32 sum. So top-p may keep or drop a token that is this close to its edge, and the token drawn
may be another one whose part of the sum is this close to the uniform number. A token's error ratio is its distance from
the edge or from the uniform number, whichever is larger, over these errors. With noise of its own that from the edge
counts alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.numerics.sampling import any_kept, better, kept, uniform
from braidcheck.op import Case, Cost


def reference(logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Sort, filter, and the first token at which the sum of probabilities passes the uniform number."""
    ends = kept(rounding.wide(logits), temperature, top_k, top_p).cumsum(-1)
    target = uniform(seeds, positions).to(ends.dtype)[:, None] * ends[:, -1:]
    return (ends <= target).sum(-1).clamp_max(ends.shape[1] - 1)


def bound(
    logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[Tensor]:
    """The error ratio [B,V] of each token; see the module's derivation."""
    if not len(logits):
        return (logits.double(),)
    x = logits.double()
    z = (x - x.amax(-1, keepdim=True)) / temperature
    after_k = kept(x, temperature, top_k, 1.0)
    weight_error = after_k * rounding.U32 * (8 * z.abs() + 8)
    error = weight_error.nansum(-1, keepdim=True) + rounding.sum_error(x.shape[1])
    over = (better(x, after_k) - top_p) / error if top_p < 1 else torch.full_like(x, -torch.inf)
    if any_kept.get():
        return (over.clamp_min(0.0).masked_fill(after_k == 0, torch.inf),)
    unsure = torch.where((over.abs() <= 1) & (after_k > 0), after_k, 0.0).sum(-1, keepdim=True)
    weights = kept(x, temperature, top_k, top_p)
    ends = weights.cumsum(-1)
    target = uniform(seeds, positions)[:, None] * ends[:, -1:]
    beside = torch.maximum(ends - weights - target, target - ends) / (2 * error + unsure)
    error_ratio = torch.maximum(over, beside).clamp_min(0.0)
    return (error_ratio.masked_fill(after_k == 0, torch.inf),)


def cost(case: Case) -> Cost:
    """Logits read once and a token written, however many passes an implementation makes."""
    return Cost(case["T"] * (case["V"] * getattr(torch, case.dtype).itemsize + 24), 0)
