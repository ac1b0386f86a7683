"""Bets against a right sampler: what a gambler wins who bets that events come up more often than their probabilities.

A bettor who believes that a share s of the draws forces the event multiplies its wealth by ``1 - s + s / p`` where an
event of probability p comes up, and by ``1 - s`` where it does not. If the event's true probability is p or less, the
mean of that factor is at most 1, whatever came before. So the mean wealth of all bettors, which begins at 1, is a
supermartingale: it ever reaches 1 / level with a probability of at most the level (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

SHARES = (0.05, 0.1, 0.2, 0.5, 0.9)

Bet = tuple[bool, float] | None
"""Of one draw: whether the event came up, and its probability; None where there is no such event."""


def largest_log_wealth(bets: Mapping[str, Sequence[Bet]]) -> float:
    """The log of the most that the bettors ever had: one an event and share, on the same draws in the same order."""
    bettors = [(event, share) for event in bets for share in SHARES]
    logs, largest = [0.0] * len(bettors), 0.0
    for draw in range(max(map(len, bets.values()), default=0)):
        for index, (event, share) in enumerate(bettors):
            bet = bets[event][draw]
            logs[index] += 0.0 if bet is None else _log_factor(*bet, share)
        most = max(logs)
        largest = max(largest, most + math.log(sum(math.exp(log - most) for log in logs) / len(logs)))
    return largest


def expected_log_wealth(bets: Mapping[str, Sequence[Bet]], share: float) -> float:
    """What a sampler that forces the best known of the events in ``share`` of its draws would give at least."""
    growths = [sum(_growth(bet[1], share) for bet in row if bet) for row in bets.values()]
    return max(growths, default=0.0) - math.log(len(SHARES) * max(1, len(bets)))


def raised(probability: float, apart: float) -> float:
    """The most that an event's probability can be where the odds of all sets are off by up to exp(``apart``)."""
    odds = probability * math.exp(apart)
    return odds / (odds + 1 - probability)


def _log_factor(happened: bool, probability: float, share: float) -> float:
    return math.log(1 - share + share / probability if happened else 1 - share)


def _growth(probability: float, share: float) -> float:
    chance = share + (1 - share) * probability
    return chance * _log_factor(True, probability, share) + (1 - chance) * _log_factor(False, probability, share)
