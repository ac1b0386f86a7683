"""Does an engine sample from the distribution it was asked for? Evidence of `measure` in, a Verdict a setting out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from braidcheck.gates.samplers.evidence import Draws, Evidence
from braidcheck.gates.samplers.wealth import Bet, expected_log_wealth, largest_log_wealth
from braidcheck.result import Status, Verdict

NAME = "samplers"
QUESTION = "Does your own engine draw tokens from the requested distribution?"
LEVEL = 1e-6
"""Of a right sampler's statistic: with 14 verdicts a run there is a false alarm once in 70,000 runs."""

MIN_POWER = 2.0  # times the limit: what a fault that must be seen gives on average
MIN_PER_BIN = 5  # below which chi-square is no longer near its distribution


def evaluate(evidence: Evidence) -> list[Verdict]:
    """One Verdict a setting."""
    return [_verdict(f"{evidence['engine']} on {evidence['model']}", draws) for draws in evidence["draws"]]


def subjects(engine: str, model: str, names: Iterable[str]) -> list[str]:
    """What ``evaluate`` gives verdicts on."""
    return [f"{engine} on {model}: {name}" for name in names]


def _verdict(name: str, draws: Draws) -> Verdict:
    subject, seconds = f"{name}: {draws['name']}", round(draws.get("seconds", 0.0), 2)
    if why := draws.get("skipped"):
        return Verdict(NAME, subject, Status.SKIPPED, why, seconds=seconds)
    if how := draws.get("error"):
        return Verdict(NAME, subject, Status.ERROR, f"the engine {how}", seconds=seconds)
    if why := draws.get("unknown"):
        return Verdict(NAME, subject, Status.INCONCLUSIVE, why, seconds=seconds)
    metrics = {"tokens": draws["tokens"], "bins": draws.get("bins", [])}
    if draws["outside"]:
        message = f"{draws['outside']} of {draws['tokens']} tokens: {draws['what']}"
        return Verdict(
            NAME, subject, Status.FAIL, message, draws["outside"], 0, unit="tokens", seconds=seconds, metrics=metrics
        )
    if "worst" in draws:
        message = f"{draws['tokens']} greedy tokens are HF's best, or as near to it as bfloat16's noise allows"
        return Verdict(
            NAME, subject, Status.PASS, message, draws["worst"], 1, unit="of the allowed distance", seconds=seconds,
            metrics=metrics,
        )  # fmt: skip
    if "bets" in draws:
        return _betting(subject, draws, seconds, metrics)
    if "last" in draws:
        return _last(subject, draws, seconds, metrics)
    if not draws.get("bins"):
        return Verdict(NAME, subject, Status.PASS, draws["what"], seconds=seconds, metrics=metrics)
    return _distribution(subject, draws, seconds, metrics)


def _last(subject: str, draws: Draws, seconds: float, metrics: dict[str, object]) -> Verdict:
    count, least = draws["last"], draws["last_expected"]
    chance = fewer(count, least)
    message = f"the last token that it keeps is drawn {count} times of {draws['tokens']}, expected are {least:.3g}"
    if chance < LEVEL:
        message += f" (p is {chance:.1g} at most, the level {LEVEL:g}): is it left out?"
    if how := draws.get("convention"):
        message += f"; {how}"
    status = Status.FAIL if chance < LEVEL else Status.PASS
    return Verdict(
        NAME, subject, status, message, count, least, higher_is_better=True, unit="draws", seconds=seconds,
        metrics=metrics,
    )  # fmt: skip


def _betting(subject: str, draws: Draws, seconds: float, metrics: dict[str, object]) -> Verdict:
    """Whether what events come up too often is worth more than the level allows (`wealth`)."""
    bets, share, limit = draws["bets"], draws["fault_share"], -math.log(LEVEL)
    worth, possible = largest_log_wealth(bets), expected_log_wealth(bets, share)
    metrics["events"] = counts = {event: _counted(row) for event, row in bets.items()}
    event, (times, expected, count) = max(counts.items(), key=lambda item: item[1][0] - item[1][1])
    message = f"a draw {event} in {times} of {count} draws, expected are {expected:.3g} at most: "
    status = Status.FAIL if worth > limit else Status.PASS
    if status == Status.FAIL:
        message += f"p is {math.exp(-worth):.1g} at most, the level {LEVEL:g} (Ville's inequality)"
    elif possible < MIN_POWER * limit:
        status = Status.INCONCLUSIVE
        message += f"too few draws to see a fault of {100 * share:.0f}% of them"
    else:
        message += f"no oftener than chance at a level of {LEVEL:g}"
    return Verdict(
        NAME, subject, status, message, worth, limit, unit="log of the wealth", seconds=seconds, metrics=metrics
    )  # fmt: skip


def _counted(row: Sequence[Bet]) -> tuple[int, float, int]:
    """How often an event came up, how often at most it is expected, and of how many draws."""
    bets = [bet for bet in row if bet]
    return sum(happened for happened, _ in bets), sum(probability for _, probability in bets), len(bets)


def fewer(count: int, mean: float) -> float:
    """Chernoff's bound of the probability of ``count`` or fewer, where draws give ``mean`` on average."""
    if count >= mean:
        return 1.0
    return math.exp(count - mean + (count * math.log(mean / count) if count else 0.0))


def noisy_limit(limit: float, count: int, apart: float) -> float:
    """Chi-square's limit where a right engine's probabilities differ from the exact ones by up to exp(``apart``).

    The root of Pearson's statistic is a norm, and the exact probabilities are at most ``exp(apart) - 1`` of themselves
    away (triangle inequality).
    """
    return (math.sqrt(limit) + math.sqrt(count) * math.expm1(apart)) ** 2


def _distribution(subject: str, draws: Draws, seconds: float, metrics: dict[str, object]) -> Verdict:
    import torch

    from braidcheck.numerics.sampling import chi_square, critical_value

    bins = draws["bins"]
    counts = torch.tensor(bins, dtype=torch.float64)
    counted = f"{sum(bins)} of {draws['tokens']} draws, where HF leaves a choice"
    if sum(bins) < MIN_PER_BIN * len(bins):
        message = f"{counted}: {MIN_PER_BIN * len(bins)} are needed"
        return Verdict(NAME, subject, Status.INCONCLUSIVE, message, seconds=seconds, metrics=metrics)
    value = chi_square(counts, counts.mean().expand_as(counts))  # a bin is as probable as another
    limit = noisy_limit(critical_value(len(bins) - 1, LEVEL), sum(bins), draws.get("apart", 0.0))
    half = len(bins) // 2
    lean = "probable" if sum(bins[:half]) > sum(bins[-half:]) else "improbable"
    says = f"too many {lean} ones" if value > limit else "as often as their probabilities say"
    message = f"tokens are drawn {says}: chi-square is {value:.3g}, {limit:.3g} at a level of {LEVEL:g} ({counted})"
    status = Status.FAIL if value > limit else Status.PASS
    return Verdict(
        NAME, subject, status, message, value, limit, unit="chi-square", seconds=seconds, metrics=metrics
    )  # fmt: skip
