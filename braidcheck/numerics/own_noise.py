"""Samplers that draw by random numbers of their own: which tokens they may draw, and how often they must draw each over
thousands of seeds and positions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics.sampling import any_kept, probabilities, refused_draws
from braidcheck.op import Op

FIRST_SEED = 2**61
DRAWS = 4096
# Temperature, top-k, top-p. Of 12 tokens near 1 / 12 one kept too few or too many shows; at 0.2 a wrong temperature.
SETTINGS = ((1.2, 0, 1.0), (0.2, 0, 1.0), (1.0, 7, 1.0), (1.0, 0, 0.6), (0.8, 9, 0.7), (1.0, 12, 0.999))
TOKENS, FEW_TOKENS = 12, 4  # the fewer for pairs
VOCAB, GROUPS = 2048, 8


def with_own_noise(op: Op) -> Op:
    """The op whose noise is the function's own: whatever is kept may be drawn, as often as it is likely."""

    @functools.wraps(op.bound)
    def bound(*args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        context.run(any_kept.set, True)
        return context.run(op.bound, *args, **kwargs)

    return replace(op, bound=bound, contract_checks=CHECKS)


def check_distribution(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Tokens are drawn as often as they are likely, with each kind of filter."""
    logits = _logits(TOKENS)
    rows = torch.arange(DRAWS)
    for temperature, top_k, top_p in SETTINGS:
        tokens = _drawn(call, device, logits, FIRST_SEED + rows // 4, rows % 4, temperature, top_k, top_p)
        if said := refused_draws(tokens, probabilities(logits, temperature, top_k, top_p)):
            return f"temperature {temperature}, top-k {top_k}, top-p {top_p}: {said}"
    return None


def check_rare_tokens(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """One token has half of the probability, all others the rest: noise of few bits hardly draws these."""
    logits = torch.zeros(VOCAB)
    logits[0] = math.log(VOCAB - 1)
    rows = torch.arange(DRAWS)
    tokens = _drawn(call, device, logits, FIRST_SEED + rows, rows, 1.0, 0, 1.0)
    group = torch.where(tokens == 0, GROUPS, tokens * GROUPS // VOCAB)
    each = probabilities(logits, 1.0)
    exact = torch.cat([each.view(GROUPS, -1).sum(1), each[:1]])
    exact[0] -= each[0]
    return refused_draws(group, exact)


def check_independence(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Neither the next position of a seed nor the same position of the next seed draws with the same noise."""
    logits = _logits(FEW_TOKENS)
    each = probabilities(logits, 1.0)
    both = torch.outer(each, each).flatten()
    for what, seeds, positions in _pairs():
        tokens = _drawn(call, device, logits, seeds, positions, 1.0, 0, 1.0).view(-1, 2)
        if said := refused_draws(tokens[:, 0] * FEW_TOKENS + tokens[:, 1], both):
            return f"tokens of {what} depend on each other: {said}"
    return None


def _pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Seeds and positions of pairs of rows, one pair after the other."""
    rows = torch.arange(2 * DRAWS)
    yield "two positions of one seed", FIRST_SEED + rows // 2, rows % 2 + 7
    yield "one position of two seeds", FIRST_SEED + rows, rows * 0 + 7


def _logits(count: int) -> Tensor:
    return 0.3 * torch.randn(count, generator=torch.Generator().manual_seed(3))


def _drawn(
    call: Callable[..., Any], device: str, logits: Tensor, seeds: Tensor, positions: Tensor, *how: Any
) -> Tensor:
    rows = logits.expand(len(seeds), -1).contiguous()
    tokens: Tensor = call(rows.to(device), seeds.to(device), positions.to(device), *how)
    return tokens.cpu()


CHECKS = {
    "rare tokens are drawn as often as they are likely": check_rare_tokens,
    "tokens are drawn as often as they are likely, with every filter": check_distribution,
    "tokens of other seeds and positions are independent": check_independence,
}
