"""What ``sample`` must draw, how far off it may be, and what it costs.

Bound: a token that top-k drops has no share that could pass. A probability's weight e^z is off by u32*(8|z| + 8):
difference, quotient, product with log2(e) and the exponential. Sums of weights are off by their terms and a float32
sum's error. So top-p may keep or drop a token that is this close to its edge, and the token drawn may be another one
whose part of the sum is this close to the uniform number. A token's share is its distance from either, next to these
errors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.numerics.sampling import better, kept, uniform
from braidcheck.op import Case, Cost


def reference(logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Sort, filter, and the first token at which the sum of probabilities passes the uniform number."""
    ends = kept(rounding.wide(logits), temperature, top_k, top_p).cumsum(-1)
    target = uniform(seeds, positions).to(ends.dtype)[:, None] * ends[:, -1:]
    return (ends <= target).sum(-1).clamp_max(ends.shape[1] - 1)


def bound(
    logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[Tensor]:
    """The share [B,V] that each token would use; see the module's derivation."""
    if not len(logits):
        return (logits.double(),)
    x = logits.double()
    z = (x - x.amax(-1, keepdim=True)) / temperature
    after_k = kept(x, temperature, top_k, 1.0)
    wrong = after_k * rounding.U32 * (8 * z.abs() + 8)  # of each weight
    sums = rounding.sum_error(x.shape[1])
    error = wrong.nansum(-1, keepdim=True) + sums
    over = (better(x, after_k) - top_p) / error if top_p < 1 else torch.full_like(x, -torch.inf)
    unsure = torch.where((over.abs() <= 1) & (after_k > 0), after_k, 0.0).sum(-1, keepdim=True)
    weights = kept(x, temperature, top_k, top_p)
    ends = weights.cumsum(-1)
    target = uniform(seeds, positions)[:, None] * ends[:, -1:]
    beside = torch.maximum(ends - weights - target, target - ends) / (2 * error + unsure)
    share = torch.maximum(over, beside).clamp_min(0.0)
    return (share.masked_fill(after_k == 0, torch.inf),)


def cost(case: Case) -> Cost:
    """Logits read once and a token written: the passes that a search takes are its own affair."""
    return Cost(case["T"] * (case["V"] * getattr(torch, case.dtype).itemsize + 24), 0)
