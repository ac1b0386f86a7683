"""The throughput gate: is an engine as fast as another one, or as in an earlier Run? One Verdict per series.

The test is that of the *paired* gate: Student's t on log ratios, with the same interim looks and error rates. Engines
load slowly, so one pair of processes runs all rounds: the unit is a round, and the effect of memory layout is not
measured. Limits are therefore looser than for kernels.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from braidcheck.gates.paired import LOOKS, Decision, Limits, decide, log_ratios
from braidcheck.gates.throughput.evidence import Evidence, Series
from braidcheck.result import Run, Status, Verdict

NAME = "throughput"
QUESTION = "Is your own engine as fast as another or as an earlier Run, with right answers while it is timed?"

AGAINST_ENGINE = Limits(math.log(1.02), math.log(1.05))
AGAINST_RUN = Limits(math.log(1.05), math.log(1.10))
"""Two sessions differ by the state of the machine, which repetitions within one session cannot show."""

SECONDS = "round_seconds"  # key of a verdict's metrics with which a later Run is compared
MACHINE = ("platform", "processor", "cpus", "gpus", "driver")  # entries of a Run's environment


def evaluate(evidence: Evidence) -> list[Verdict]:
    """One Verdict per series."""
    name = f"{evidence['engine']} on {evidence['model']}"
    medians = {one["name"]: _median(one, "change") for one in evidence["series"]}
    return [_verdict(f"{name}: {one['name']}", one, evidence, medians) for one in evidence["series"]]


def subjects(engine: str, model: str, names: Iterable[str]) -> list[str]:
    """What ``evaluate`` gives verdicts on."""
    return [f"{engine} on {model}: {name}" for name in names]


def earlier_seconds(run: Run, here: Mapping[str, object]) -> tuple[dict[str, list[float]], str]:
    """The seconds of each round of an earlier Run by series; or why it cannot be compared with the machine ``here``."""
    different = [name for name in MACHINE if run.environment.get(name) != here.get(name)]
    if different:
        return {}, f"the earlier Run is of another machine (its {different[0]} differs)"
    seconds = {v.subject.rpartition(": ")[2]: v.metrics[SECONDS] for v in run.verdicts if v.metrics.get(SECONDS)}
    return seconds, "" if seconds else "the earlier Run has no throughput: make one with --speed"


def _verdict(subject: str, one: Series, evidence: Evidence, medians: Mapping[str, float]) -> Verdict:
    if one["skipped"]:
        return Verdict(NAME, subject, Status.SKIPPED, one["skipped"])
    if one["error"]:
        return Verdict(NAME, subject, Status.ERROR, f"the engine {one['error']}")
    if one["wrong"]:
        return Verdict(NAME, subject, Status.FAIL, f"an answer that was timed is wrong: {one['wrong']}")
    rounds = one["found"]["restarts"]
    seconds = [statistics.median(turns["change"]) for turns in rounds]
    if not rounds:
        return Verdict(NAME, subject, Status.INCONCLUSIVE, "no round fit into the time budget")
    if min(seconds) <= 0:
        return Verdict(NAME, subject, Status.ERROR, "a round of this series has no time")
    rate = _rate(one, medians)
    metrics: dict[str, object] = {SECONDS: seconds, "tokens_per_second": rate, "against": evidence["against"]}
    rate_text = f"{rate:,.0f} tok/s"
    if one["base_wrong"] or not any(turns["base"] for turns in rounds):
        why = f"the base is wrong: {one['base_wrong']}" if one["base_wrong"] else "there is nothing to compare it with"
        return Verdict(NAME, subject, Status.SKIPPED, f"{rate_text}; {why}", metrics=metrics)
    limits = AGAINST_RUN if evidence["earlier"] else AGAINST_ENGINE
    decision = decide(log_ratios(rounds), len(evidence["series"]), limits)
    if math.isnan(decision.mean):
        message = f"{rate_text}; {decision.count} of {LOOKS[0]} rounds fit into the time budget, too few to decide"
        return Verdict(NAME, subject, Status.INCONCLUSIVE, message, metrics=metrics)
    metrics["interval"] = [math.exp(decision.low), math.exp(decision.high)]
    metrics["smallest"] = math.exp(decision.smallest)
    message = f"{rate_text}, {_compared(decision, limits)}, beside {evidence['against']}"
    return Verdict(
        NAME, subject, decision.status, message, math.exp(decision.mean), math.exp(limits.margin),
        unit="x the base's time", metrics=metrics,
    )  # fmt: skip


def _median(one: Series, side: str) -> float:
    rounds: Sequence[Mapping[str, list[float]]] = one["found"]["restarts"]  # type: ignore[assignment]
    turns = [seconds for turns in rounds for seconds in turns[side]]
    return statistics.median(turns) if turns else math.nan


def _rate(one: Series, medians: Mapping[str, float]) -> float:
    """Tokens per second; for decode the tokens after the first, with the prompt's time subtracted."""
    seconds = medians[one["name"]]
    prompt = medians.get(one["prefill"], math.nan)
    return one["tokens"] / (seconds - prompt if prompt < seconds else seconds)


def _compared(decision: Decision, limits: Limits) -> str:
    low, mean, high, smallest, floor, margin = (
        f"{math.expm1(x):+.1%}"
        for x in (decision.low, decision.mean, decision.high, decision.smallest, limits.floor, limits.margin)
    )
    after = f"after {decision.count} rounds"
    if decision.status == Status.FAIL:
        return f"slower by {mean}, at least {low} {after}; {floor} is allowed"
    if decision.status == Status.PASS:
        return f"time differs by {mean}, at most {high} {after}; a slow-down of {margin} is excluded"
    return (
        f"undecided: time differs by {mean}, {low} to {high} {after}; the smallest slow-down to be seen is {smallest}"
    )
