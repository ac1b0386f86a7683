"""What ``measure.measure_samplers`` sees, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict


class Draws(TypedDict, total=False):
    """One setting of the sampler, or greedy answers.

    Drawn tokens are ``tokens`` in all; ``bins`` counts their places in HF's distribution where that leaves a choice,
    from its best token to its worst: each bin is as probable as the others, to within a factor of exp(``apart``) where
    all draws are of one distribution, whose noise does not average out. ``outside`` are tokens that no engine of
    bfloat16's precision can give, the first as ``what`` says. Greedy tokens have ``worst``: how far, of what is
    allowed, a token's logit is below HF's best. ``last`` counts draws of the last token that a limit keeps, where noise
    cannot rule it out; a right sampler gives ``last_expected`` or more on average. ``skipped`` and ``error`` say why
    there is nothing.
    """

    name: str
    tokens: int
    bins: list[int]
    apart: float
    last: int
    last_expected: float
    outside: int
    what: str
    worst: float
    skipped: str
    error: str
    seconds: float


class Evidence(TypedDict):
    """All settings of one engine."""

    engine: str
    model: str
    draws: list[Draws]
