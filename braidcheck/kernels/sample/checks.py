"""Contract checks of ``sample`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.numerics.calls import in_float64, run
from braidcheck.numerics.error import error_ratios
from braidcheck.numerics.sampling import probabilities, refused_draws
from braidcheck.op import Op

DRAWS_FIRST, DRAWS_LAST = 12121362, 16390493  # seeds: at position 0 the numbers 0 and 1 - 2**-24
STEPS = 300  # tokens
ULP = 2.0**-21  # between two float32 numbers from 4 to 8
# Temperature, top-k, top-p: both sides of what either filter keeps all of, and the limits of the temperature.
FILTERS = (
    *((1.0, top_k, 1.0) for top_k in (0, 1, 2, 64, STEPS - 2, STEPS - 1, STEPS, STEPS + 1)),
    *((1.0, 0, top_p) for top_p in (2.0**-126, 2.0**-10, 0.5, *(1 - 2.0**-bits for bits in (4, 8, 10, 12, 24)))),
    *((0.5, top_k, 0.9375) for top_k in (3, STEPS - 1)),
    *((temperature, 0, 1.0) for temperature in (2.0**-126, 2.0**-20, 64.0, 2.0**127)),
)


def check_nonfinite_logits(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """NaN, infinity, and rows of nothing but minus infinity or NaN, with and without filters."""
    logits = torch.randn(5, 2500, generator=torch.Generator().manual_seed(9))
    logits[0, 2130] = torch.nan
    logits[1, 2048] = torch.inf  # the first token of a block
    logits[2:4] = -torch.inf
    logits[4] = torch.nan
    seeds, positions = (torch.arange(5) + start for start in (7, 90))
    for top_k, top_p in ((0, 1.0), (3, 1.0), (0, 0.9), (3, 0.9)):
        tokens = call(logits.to(device), seeds.to(device), positions.to(device), 0.7, top_k, top_p).tolist()
        if tokens[:2] != [2130, 2048] or not all(0 <= token < 2500 for token in tokens):
            return f"tokens {tokens} are drawn, must be 2130, 2048 and three of 2500"
    return None


def check_distribution(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Tokens of seeds and positions in a row, as engines give them, are drawn as often as they are likely."""
    logits = 1.5 * torch.randn(40, generator=torch.Generator().manual_seed(3))
    rows = torch.arange(640)
    seeds, positions = (2**61 + rows // 4).to(device), (rows % 4).to(device)
    tokens = call(logits.to(device).expand(len(rows), -1).contiguous(), seeds, positions, 1.2, 0, 1.0)
    return refused_draws(tokens.cpu(), probabilities(logits, 1.2))


def check_ends_of_the_kept(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The least and the largest random number draw the first and the last of the tokens that filters keep: in order of
    their logits these are the border itself."""
    seeds = torch.tensor([DRAWS_FIRST, DRAWS_LAST] * 2 + [DRAWS_LAST] * 12 + [DRAWS_LAST, DRAWS_FIRST], device=device)
    draw = torch.rand(12, STEPS, generator=torch.Generator().manual_seed(4))
    draw[6:, 1::2] = 0  # pairs of equal logits: of the best two the last is drawn at any temperature
    # So large that they are infinite once they are divided by the least temperature.
    falling = 8 - torch.cat([torch.full((4, STEPS), 0.125), 0.25 * draw]).cumsum(1)
    falling[2:4] = falling[2:4].flip(1)
    neighbours = 8 - torch.arange(1, STEPS + 1) * ULP  # a threshold is sought to its last bit
    falling = torch.cat([falling, neighbours[None], neighbours.flip(0)[None]])
    for temperature, top_k, top_p in FILTERS:
        arguments = {
            "logits": falling.to(device), "seeds": seeds, "positions": torch.zeros_like(seeds),
            "temperature": temperature, "top_k": top_k, "top_p": top_p,
        }  # fmt: skip
        (tokens,), (exact,), bounds = (
            run(op, call, arguments),
            run(op, op.reference, in_float64(arguments)),
            op.bound(**arguments),
        )
        ratios = error_ratios(tokens, exact, bounds[0])
        if not ratios.max() <= 1:
            row = int(ratios.argmax())
            filters = f"top-k {top_k}, top-p {top_p}, temperature {temperature}"
            return f"{filters}: seed {int(seeds[row])} draws {int(tokens[row])}, must draw {int(exact[row])}"
    return None


CONTRACT_CHECKS = {
    "the ends of the random numbers draw the ends of what is kept": check_ends_of_the_kept,
    "tokens are drawn as often as they are likely": check_distribution,
    "a token of logit NaN or infinity is drawn, in a row without a finite one any token": check_nonfinite_logits,
}
