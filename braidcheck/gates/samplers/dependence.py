"""Whether draws are of their own: none is the best token without chance, none repeats another draw's random number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import torch
from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.gates.samplers.answers import check_length
from braidcheck.gates.samplers.evidence import Draws
from braidcheck.gates.samplers.limits import Setting
from braidcheck.gates.samplers.seeds import After
from braidcheck.gates.samplers.wealth import Bet, raised
from braidcheck.numerics.sampling import probabilities

FLAT = Setting(8.0)
"""A temperature at which no token is probable: the best one, or one that comes twice, is then a surprise."""

CELLS = 8  # of the unit interval, in which two random numbers that are one fall together
SEEDS_OF_PROMPT = 2
FIRST_SEED = 1000  # an even one: seeds that share all bits but the last follow one another
BEST = "is the best token"
BEFORE, BESIDE = "the token before it", "the token at its place in the answer before it"
SAME = {"token": "is", "by probability": "has the random number, in the order of probabilities, of",
        "by id": "has the random number, in the order of ids, of"}  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """A drawn token, its distribution [V], and the cells of its random number in the order of probabilities and of ids.

    The random number is the distribution's function there (probability integral transform), made uniform by a draw of
    our own inside of the token's share.
    """

    token: int
    exact: Tensor
    apart: float
    cells: dict[str, int]


def flat_answers(
    client: Client, prompts: Sequence[list[int]], count: int, stops: Sequence[int], after: After
) -> list[list[Draw]]:  # fmt: skip
    """Drawn answers of ``count`` tokens to each prompt, with seeds that follow one another: at once where the engine
    takes several requests."""
    own, rows = random.Random(FIRST_SEED), []
    for index, prompt in enumerate(prompts):
        seeds = range(FIRST_SEED + SEEDS_OF_PROMPT * index, FIRST_SEED + SEEDS_OF_PROMPT * (index + 1))
        if client.claims["concurrency"] > 1:
            drawn = client.sample_together(prompt, count, seeds, **asdict(FLAT))
        else:
            drawn = [client.sample(prompt, count, **asdict(FLAT), seed=seed) for seed in seeds]
        for row in drawn:
            if row or client.claims["includes_stop"]:
                check_length(row, stops, client, count)
        rows += [[_draw(token, *step, own) for token, step in zip(row, after(prompt, row), strict=True)]
                 for row in drawn]  # fmt: skip
    return rows


def _draw(token: int, row: Tensor, apart: float, own: random.Random) -> Draw:
    exact = probabilities(row, FLAT.temperature)
    mine, inside = float(exact[token]), own.random()
    more = (exact > mine) | ((exact == mine) & (torch.arange(len(row)) < token))
    before = {"by probability": float(exact[more].sum()), "by id": float(exact[:token].sum())}
    cells = {order: min(CELLS - 1, int(CELLS * (share + mine * inside))) for order, share in before.items()}
    return Draw(token, exact, apart / FLAT.temperature, cells)


def best_draws(rows: Sequence[Sequence[Draw]]) -> Draws:
    """How often the best token is drawn."""
    bets: list[Bet] = [_bet(one, int(one.exact.argmax()) == one.token, float(one.exact.max())) for one in chain(*rows)]
    return {"tokens": len(bets), "outside": 0, "what": "", "bets": {BEST: bets}, "fault_share": 0.1}


def dependent_draws(rows: Sequence[Sequence[Draw]]) -> Draws:
    """How often a draw repeats the one before it, or the one at its place in the answer before."""
    bets: dict[str, list[Bet]] = {f"{same} {other}": [] for other in (BEFORE, BESIDE) for same in SAME.values()}
    for draw, earlier in _pairs(rows):
        for other, one in earlier.items():
            for order, same in SAME.items():
                bets[f"{same} {other}"].append(None if one is None else _repeats(draw, one, order))
    return {"tokens": sum(map(len, rows)), "outside": 0, "what": "", "bets": bets, "fault_share": 0.5}


def _pairs(rows: Sequence[Sequence[Draw]]) -> Iterator[tuple[Draw, dict[str, Draw | None]]]:
    for row, above in zip(rows, [[], *rows], strict=False):
        for index, draw in enumerate(row):
            yield (
                draw,
                {BEFORE: row[index - 1] if index else None, BESIDE: above[index] if index < len(above) else None},
            )


def _repeats(draw: Draw, earlier: Draw, order: str) -> Bet:
    if order == "token":
        return _bet(draw, draw.token == earlier.token, float(draw.exact[earlier.token]))
    return _bet(draw, draw.cells[order] == earlier.cells[order], 1 / CELLS)


def _bet(draw: Draw, happened: bool, probability: float) -> Bet:
    return happened, raised(probability, draw.apart)
