"""What ``measure.measure_samplers`` sees, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict

from braidcheck.gates.samplers.wealth import Bet


class Draws(TypedDict, total=False):
    """One setting of the sampler, or greedy answers.

    Drawn tokens are ``tokens`` in all; ``bins`` counts their places in HF's distribution where that leaves a choice,
    from its best token to its worst: each bin is as probable as the others, to within a factor of exp(``apart``) where
    all draws are of one distribution, whose noise does not average out. ``outside`` are tokens that no engine of
    bfloat16's precision can give, the first as ``what`` says. Greedy tokens have ``worst``: how far, of what is
    allowed, a token's logit is below HF's best. ``last`` counts draws of the last token that a limit keeps, where noise
    cannot rule it out; a right sampler gives ``last_expected`` or more on average, ``convention`` says of which tokens
    it takes top-p. ``bets`` hold of each event a Bet a draw, ``fault_share`` is the share of draws that a fault which
    must be seen spoils. ``skipped`` and ``error`` say why there is nothing, ``unknown`` why it tells nothing.
    """

    name: str
    tokens: int
    bins: list[int]
    apart: float
    last: int
    last_expected: float
    convention: str
    bets: dict[str, list[Bet]]
    fault_share: float
    outside: int
    what: str
    worst: float
    skipped: str
    unknown: str
    error: str
    seconds: float


class Evidence(TypedDict):
    """All settings of one engine."""

    engine: str
    model: str
    draws: list[Draws]
