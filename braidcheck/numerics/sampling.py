"""Reference and bound of token sampling: random numbers in integers, filters by sorting. And a statistical test of
drawn tokens against probabilities, independent of the random numbers.
"""

from __future__ import annotations

from contextvars import ContextVar

import torch
from torch import Tensor

any_kept: ContextVar[bool] = ContextVar("any_kept", default=False)  # whether any token that is kept may be drawn
FALSE_ALARM = 1e-9  # the probability that a right sampler with random seeds fails


def uniform(seeds: Tensor, positions: Tensor) -> Tensor:
    """The uniform numbers float64 [B], by Philox 4x32 of ten rounds (Salmon et al. 2011) in whole numbers."""
    return torch.tensor([_philox(*pair) >> 8 for pair in zip(seeds.tolist(), positions.tolist(), strict=True)],
                        dtype=torch.float64, device=seeds.device) / 2**24  # fmt: skip


def _philox(key: int, counter: int) -> int:
    low = 2**32 - 1
    words, keys = [counter & low, 0, 0, 0], [key & low, key >> 32 & low]
    for _ in range(10):
        first, second = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [second >> 32 ^ words[1] ^ keys[0], second & low, first >> 32 ^ words[3] ^ keys[1], first & low]
        keys = [(keys[0] + 0x9E3779B9) & low, (keys[1] + 0xBB67AE85) & low]
    return words[0]


def kept(logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float = 0.0) -> Tensor:
    """The probabilities [B,V] after temperature, top-k, top-p and min-p, not yet scaled to sum to one."""
    scores = logits / temperature
    if top_k:
        least = scores.topk(min(top_k, scores.shape[1])).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    weights = scores.softmax(-1)
    if top_p < 1:
        ordered = weights.sort(descending=True).values
        before = ordered.cumsum(-1) - ordered
        least = ordered.masked_fill(before >= top_p, torch.inf).amin(-1, keepdim=True)
        weights = weights.masked_fill(weights < least, 0.0)
    if min_p:
        weights = weights.masked_fill(weights < min_p * weights.amax(-1, keepdim=True), 0.0)
    return weights


def better(x: Tensor, weights: Tensor) -> Tensor:
    """For each token, the sum of the weights of all tokens with a larger logit, [B,V]."""
    ordered, order = x.sort(descending=True)
    before = torch.cat([torch.zeros_like(weights[:, :1]), weights.gather(1, order).cumsum(-1)], dim=1)
    return before.gather(1, torch.searchsorted(-ordered, -x))


def probabilities(
    logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:  # fmt: skip
    """The probability float64 [V] of each token of logits [V]."""
    weights = kept(logits.double()[None], temperature, top_k, top_p, min_p)[0]
    return weights / weights.sum()


def refused_draws(tokens: Tensor, exact: Tensor) -> str | None:
    """A violation if independent draws with probabilities ``exact`` [V] give ``tokens`` int64 [N] with probability
    below FALSE_ALARM: Pearson's chi-square, or a token of probability 0."""
    observed = torch.bincount(tokens, minlength=len(exact)).double()
    if len(observed) > len(exact) or bool((observed[exact == 0] > 0).any()):
        return f"tokens of probability 0 are drawn: {sorted(set(tokens.tolist()))}"
    expected, order = (len(tokens) * exact).sort(descending=True)
    # The statistic's distribution needs 5 expected draws in a cell: the rarest tokens share the last cell.
    cells = ((expected >= 5) & (expected.flip(0).cumsum(0).flip(0) - expected >= 5)).sum()
    expected, observed = (torch.cat([part[:cells], part[cells:].sum()[None]]) for part in (expected, observed[order]))
    statistic = chi_square(observed, expected)
    chance = upper_tail(statistic, max(1, len(expected) - 1))
    if chance >= FALSE_ALARM:
        return None
    return f"{len(tokens)} draws have a chi-square of {statistic:.1f} in {len(expected)} cells: p = {chance:.1g}"


def chi_square(observed: Tensor, expected: Tensor) -> float:
    """Pearson's statistic of counts [N] beside expected ones above 0."""
    return float(((observed - expected).square() / expected).sum())


def upper_tail(statistic: float, freedom: int) -> float:
    """The probability that a chi-square of ``freedom`` degrees is at least ``statistic``."""
    half = torch.tensor([freedom, statistic], dtype=torch.float64) / 2
    return float(torch.special.gammaincc(half[0], half[1]))


def critical_value(freedom: int, level: float) -> float:
    """The chi-square of ``freedom`` degrees that is exceeded with probability ``level``, by bisection."""
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, freedom) > level else (low, middle)
    return high
