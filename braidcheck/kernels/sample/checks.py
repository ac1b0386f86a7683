"""Contract checks of ``sample`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.numerics.sampling import probabilities, refused_draws
from braidcheck.op import Op


def check_nonfinite_logits(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """NaN, infinity, and rows of nothing but minus infinity or NaN, with and without filters."""
    logits = torch.randn(5, 2500, generator=torch.Generator().manual_seed(9))
    logits[0, 2130] = torch.nan
    logits[1, 2048] = torch.inf  # the first token of a block
    logits[2:4] = -torch.inf
    logits[4] = torch.nan
    seeds, positions = (torch.arange(5) + start for start in (7, 90))
    for top_k, top_p in ((0, 1.0), (3, 1.0), (0, 0.9), (3, 0.9)):
        found = call(logits.to(device), seeds.to(device), positions.to(device), 0.7, top_k, top_p).tolist()
        if found[:2] != [2130, 2048] or not all(0 <= token < 2500 for token in found):
            return f"tokens {found} are drawn, must be 2130, 2048 and three of 2500"
    return None


def check_distribution(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Tokens of seeds and positions in a row, as engines give them, are drawn as often as they are likely."""
    logits = 1.5 * torch.randn(40, generator=torch.Generator().manual_seed(3))
    rows = torch.arange(640)
    seeds, positions = (2**61 + rows // 4).to(device), (rows % 4).to(device)
    tokens = call(logits.to(device).expand(len(rows), -1).contiguous(), seeds, positions, 1.2, 0, 1.0)
    return refused_draws(tokens.cpu(), probabilities(logits, 1.2))


CONTRACT_CHECKS = {
    "tokens are drawn as often as they are likely": check_distribution,
    "a token of logit NaN or infinity is drawn, in a row without a finite one any token": check_nonfinite_logits,
}
