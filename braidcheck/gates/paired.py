"""The paired gate: is the change slower than the base, by a test whose error rates are stated.

**Unit.** Both versions run in a process of their own, restarted together; the processes take turns in random order.
Turns of one pair of processes share its memory layout, so they give one number together: the median over the turns of
log(change / base). These numbers d_1..d_n of n restarts are independent, and the test is Student's t on their mean
(a mean of n >= 10 medians of turns; its behaviour under drift, autocorrelated noise and outliers is simulated in the
tests).

**Question.** With mu the true log ratio: *fail* where the lower bound of mu lies above FLOOR (a slow-down up to FLOOR
is tolerated), *pass* where the upper bound lies below MARGIN, else more restarts, and *inconclusive* where
there are none left or the time is up.

**Error rates.** The data are looked at LOOKS times, and the first look that can say decides. A false red at some look
is at most the sum over the looks, so each look spends an equal part of alpha (Bonferroni; it holds whatever the looks
have in common). alpha is at most SERIES_ALPHA a series and RUN_ALPHA a run of all series together. In the same way a
slow-down of MARGIN or more passes with a probability of at most MISS.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from braidcheck.gates.gate import Gate, Progress
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

FLOOR, MARGIN = math.log(1.005), math.log(1.01)


@dataclass(frozen=True)
class Limits:
    """Log ratios: a slow-down up to ``floor`` is allowed, one of ``margin`` must not pass."""

    floor: float = FLOOR
    margin: float = MARGIN


KERNELS = Limits()
LOOKS = (10, 15, 20, 30, 40)
SERIES_ALPHA, RUN_ALPHA, MISS = 1e-3, 1e-2, 0.05
ALL_KERNELS = "every kernel"  # the subject if nothing can be timed


class Turns(TypedDict):
    """One restart: seconds of each round, by side; how many samples were ``discarded``."""

    base: list[float]
    change: list[float]
    discarded: int


class WorkerFailure(TypedDict):
    """What ended a series: on which side, and its message."""

    side: str
    said: str


class SeriesTimings(TypedDict):
    """The timings of one series; for the engine also ``counts`` by side: the host cost of one request, by name."""

    restarts: list[Turns]
    trouble: WorkerFailure | None
    counts: NotRequired[dict[str, dict[str, int]]]


class Evidence(TypedDict, total=False):
    """All series timed ``against`` a commit; or the ``reason`` why nothing was timed."""

    series: dict[str, SeriesTimings]
    against: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """The result of ``count`` restarts: the mean log ratio, its bounds, and the smallest slow-down that they would
    detect.

    ``smallest`` is the slow-down that a test with these restarts calls red with probability 1 - MISS.
    """

    status: Status
    count: int
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    smallest: float = math.inf


def decide(ratios: Sequence[float], series: int, limits: Limits = KERNELS) -> Decision:
    """The verdict on one series from its log ratios, a restart each, in a run that evaluates ``series`` of them."""
    decision = Decision(Status.INCONCLUSIVE, len(ratios))
    for look in LOOKS:
        if len(ratios) >= look and decision.status == Status.INCONCLUSIVE:
            decision = _look(ratios[:look], min(SERIES_ALPHA, RUN_ALPHA / series) / len(LOOKS), limits)
    return decision


def _look(ratios: Sequence[float], alpha: float, limits: Limits) -> Decision:
    from scipy.stats import t as student  # takes a second to import, only for paired runs

    count = len(ratios)
    mean = statistics.fmean(ratios)
    error = statistics.stdev(ratios) / math.sqrt(count)
    red, green, seen = (student.isf(level, count - 1) * error for level in (alpha, MISS / len(LOOKS), MISS))
    low, high = mean - red, mean + green
    status = Status.FAIL if low > limits.floor else Status.PASS if high < limits.margin else Status.INCONCLUSIVE
    if not all(map(math.isfinite, (low, high))):
        status = Status.INCONCLUSIVE
    return Decision(status, count, mean, low, high, limits.floor + red + seen)


def undecided(timings: SeriesTimings, series: int, limits: Limits = KERNELS) -> bool:
    """Whether more restarts could still decide a series of the evidence."""
    if timings["trouble"] or len(timings["restarts"]) >= LOOKS[-1]:
        return False
    return decide(log_ratios(timings["restarts"]), series, limits).status == Status.INCONCLUSIVE


def log_ratios(restarts: Sequence[Turns]) -> list[float]:
    """For each restart, the median over its rounds of log(change / base). Raises ValueError for a round without
    time."""
    if not all(0 < seconds < math.inf for r in restarts for seconds in (*r["base"], *r["change"])):
        raise ValueError("a turn has no time")
    return [
        statistics.median(math.log(change / base) for base, change in zip(r["base"], r["change"], strict=True))
        for r in restarts
    ]


def evaluate(evidence: Mapping[str, Any], lane: str = "", names: Sequence[str] = (ALL_KERNELS,)) -> tuple[Verdict, ...]:
    """One verdict per series of ``names`` from the evidence of ``paired.measure``. With a ``reason`` for not timing,
    all are skipped; a requested series that was not timed is an error.
    """
    if reason := evidence.get("reason"):
        return tuple(Verdict("paired", name, Status.SKIPPED, reason, lane=lane) for name in names)
    series = evidence.get("series") or {}
    lost = {"trouble": {"side": "change", "said": "it was not timed"}}
    return tuple(_verdict(name, series.get(name) or lost, len(names), evidence, lane) for name in names)


def _verdict(name: str, timings: Mapping[str, Any], series: int, evidence: Mapping[str, Any], lane: str) -> Verdict:
    """A series that could not be timed is an error if the change caused that, else skipped; a timed one is decided."""
    against = f"against {evidence.get('against', 'the base')[:12]}"
    if trouble := timings.get("trouble"):
        status = Status.ERROR if trouble["side"] == "change" else Status.SKIPPED
        return Verdict("paired", name, status, f"{trouble['said']} ({trouble['side']}, {against})", lane=lane)
    try:
        more = _more_counts(timings.get("counts") or {})
        ratios = log_ratios(timings.get("restarts") or ())
        decision = decide(ratios, series)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, statistics.StatisticsError):
        return Verdict("paired", name, Status.ERROR, "a turn of this series has no time", lane=lane)
    metrics: dict[str, object] = {"restarts": decision.count, "against": evidence.get("against", "")}
    metrics |= {"counts": timings["counts"]} if timings.get("counts") else {}
    if more:
        return Verdict("paired", name, Status.FAIL, f"{more}, {against}", lane=lane, metrics=metrics)
    if math.isnan(decision.mean):
        message = f"{decision.count} of {LOOKS[0]} process pairs fit into the time budget, too few to decide"
        return Verdict("paired", name, Status.INCONCLUSIVE, message, lane=lane, metrics=metrics)
    metrics |= {
        "interval": [math.exp(decision.low), math.exp(decision.high)],
        "smallest": math.exp(decision.smallest),
        "spread_between_restarts": statistics.stdev(ratios[: decision.count]),
        "base_us": 1e6 * statistics.median(t for r in timings["restarts"] for t in r["base"]),
        "change_us": 1e6 * statistics.median(t for r in timings["restarts"] for t in r["change"]),
    }
    return Verdict(
        gate="paired",
        subject=name,
        status=decision.status,
        message=f"{_message(decision)}, {against}",
        value=math.exp(decision.mean),
        limit=math.exp(MARGIN),
        unit="x the base's time",
        lane=lane,
        metrics=metrics,
    )


def _more_counts(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Host costs of one request that exceed the base's, as text; empty if there are none."""
    base, change = (counts.get(side, {}) for side in ("base", "change"))
    more = [name for name in change if change[name] > base[name]]
    return "; ".join(f"{change[name]} {name} a request, the base's {base[name]}" for name in more)


def _message(decision: Decision) -> str:
    low, mean, high, smallest = (
        f"{math.expm1(x):+.2%}" for x in (decision.low, decision.mean, decision.high, decision.smallest)
    )
    after = f"after {decision.count} restarts"
    if decision.status == Status.FAIL:
        return f"slower by {mean}, at least {low} {after}; {math.expm1(FLOOR):.1%} is allowed"
    if decision.status == Status.PASS:
        return f"{mean}, at most {high} {after}; a slow-down of {math.expm1(MARGIN):.0%} is excluded"
    return f"{mean}, between {low} and {high} {after}; smallest detectable slowdown is {smallest}"


def subjects(settings: Settings) -> list[str]:
    """The series: each op in each production shape, and the engine's requests."""
    from braidcheck.ci.paired.measure import all_series

    return [one["name"] for one in all_series()]


def run(settings: Settings, names: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Time every series in both trees; error rates hold for all series together."""
    from braidcheck.ci.paired.measure import all_series, measure_paired

    series = all_series()
    evidence = measure_paired(settings.against, series, 60 * settings.minutes, progress)
    return evaluate(evidence, settings.lane, [one["name"] for one in series])


GATE = Gate(
    name="paired",
    question="Is any kernel, or the engine, slower than the base commit's, with a stated false-positive rate?",
    failure_page="speed",
    subjects=subjects,
    run=run,
    per_op=True,
    timed=True,
    needs_gpu="no GPU: the static gate decides",
    stand_in=ALL_KERNELS,
    timeout_s=7200,
)
