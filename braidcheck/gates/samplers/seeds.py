"""Whether seeds decide what is drawn: the same seed the same tokens, another seed others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations

from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.gates.samplers.evidence import Draws
from braidcheck.gates.samplers.limits import Setting, place

After = Callable[[list[int], list[int]], list[tuple[Tensor, float]]]
COMPARED_SEEDS = (1, 2, (1 << 30) + 1, (1 << 30) + 2)  # no fewer bits, and no float32, tell these apart
MAX_CHANCE = 1e-9  # of one answer, below which two seeds do not both draw it


def measure_seeds(client: Client, prompt: list[int], after: After, count: int) -> Draws:
    """The same seed gives the same tokens, others give others, at once too where the engine takes several requests."""
    options = asdict(Setting(2.0))
    again, *answers = [client.sample(prompt, count, **options, seed=seed) for seed in (1, *COMPARED_SEEDS)]
    at_once = []
    if client.claims["concurrency"] > 1:
        at_once = client.sample_together(prompt, count, COMPARED_SEEDS, **options)
    what, outside = "the same seed gives the same tokens, and others give others", 0
    if answers[0] != again:
        what, outside = "the same seed gives other tokens", count
    for group, how in ((answers, ""), (at_once, " where they are asked for at once")):
        for (one, first), (other, second) in combinations(zip(COMPARED_SEEDS, group, strict=False), 2):
            if first == second and not outside and _chance(prompt, first, after) < MAX_CHANCE:
                what, outside = f"seeds {one} and {other} give the same tokens{how}", count
    return {"tokens": sum(map(len, (again, *answers, *at_once))), "outside": outside, "what": what}


def _chance(prompt: list[int], answer: list[int], after: After) -> float:
    """The probability of an answer at the temperature of 2 at which seeds are compared."""
    rows = [row for row, _ in after(prompt, answer)]
    return math.prod(place(row, token, Setting(2.0))[0] for row, token in zip(rows, answer, strict=True))
