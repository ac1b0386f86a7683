"""Equivalent implementations of ``sample``: other sums, and other ways to find what is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from braidcheck.kernels.common.blocks import other_blocks
from braidcheck.kernels.sample import sample as wrapper
from braidcheck.numerics.sampling import uniform


def by_sort(logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """All filters on one sorted row, kept by rank; equal logits at an edge by the logit there."""
    scores, order = (_below_largest(logits) / temperature).sort(descending=True, stable=True)
    if top_k:
        scores = scores.masked_fill(scores < scores[:, min(top_k, scores.shape[1]) - 1, None], -torch.inf)
    weights = torch.exp(scores)
    before = weights.cumsum(-1) - weights
    if top_p < 1:
        edge = (before < top_p * weights.sum(-1, keepdim=True)).sum(-1, keepdim=True) - 1
        weights = weights.masked_fill(scores < scores.gather(1, edge), 0.0)
    return _first(torch.zeros_like(weights).scatter(1, order, weights).cumsum(-1), seeds, positions)


def by_bisection(
    logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float
) -> Tensor:
    """Each row's thresholds by halving among its own logits."""
    tokens = []
    for row, seed, position in zip(logits.float(), seeds, positions, strict=True):
        weights = torch.exp2((row - row.max()) * (1.4426950408889634 / temperature))
        if top_k:
            weights = _least(row, weights, lambda kept: int(kept.sum()) >= top_k)
        if top_p < 1:
            weights = _least(row, weights, partial(_holds, weights, top_p))
        tokens.append(_first(weights.cumsum(-1)[None], seed[None], position[None]))
    return torch.cat(tokens) if tokens else seeds.clone()


def from_the_end(
    logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float
) -> Tensor:
    """Top-p by what is worse, sums of float32 from the vocabulary's last token on."""
    scores = _below_largest(logits) * (1 / temperature)
    if top_k:
        scores = scores.masked_fill(scores < scores.topk(min(top_k, scores.shape[1])).values[:, -1:], -torch.inf)
    weights = scores.softmax(-1)
    if top_p < 1:
        worst, _ = weights.sort()
        worst[:, :-1] = worst[:, :-1].masked_fill(worst.cumsum(-1)[:, :-1] <= 1 - top_p, torch.inf)  # keeps the best
        least = worst.amin(-1, keepdim=True)
        weights = weights.masked_fill(weights < least, 0.0)
    behind = weights.flip(-1).cumsum(-1).flip(-1)
    target = behind[:, :1] * (1 - uniform(seeds, positions).float()[:, None])
    return (behind >= target).sum(-1).clamp_min(1) - 1


def _below_largest(logits: Tensor) -> Tensor:
    """Each logit less its row's largest one: divided by the least temperature this is finite or minus infinity."""
    largest = logits.float().amax(-1, keepdim=True)
    return torch.where(logits == largest, 0.0, logits.float() - largest)


def _holds(weights: Tensor, top_p: float, kept: Tensor) -> bool:
    return float(weights[kept].sum()) >= top_p * float(weights.sum())


def _least(row: Tensor, weights: Tensor, enough: Callable[[Tensor], bool]) -> Tensor:
    """``weights`` of what reaches the largest logit of ``row`` from which on there is ``enough``."""
    choices = row.unique()
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if enough(row >= choices[middle]) else (low, middle - 1)
    return weights.where(row >= choices[low], 0.0)


def _first(ends: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """The first token at which the sums ``ends`` [B,V] pass the uniform number of each row."""
    target = uniform(seeds, positions).to(ends.dtype)[:, None] * ends[:, -1:]
    return (ends <= target).sum(-1).clamp_max(ends.shape[1] - 1)


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    "sorted": by_sort,
    "halving": by_bisection,
    "from the end": from_the_end,
}
