"""The surfaces gate for a user's engine: is it right alone, in batches, at late positions, after other requests?
Evaluates the evidence of `measure.measure_surfaces`: one Verdict per cell, and one on what separates right answers from
wrong ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypedDict

from braidcheck.gates.surfaces.evidence import Cell, Evidence, Outcome
from braidcheck.gates.surfaces.finding import separate
from braidcheck.result import Status, Verdict

NAME = "surfaces"
QUESTION = "Is your own engine right alone, in batches, at late positions and after other requests?"
RATIO = 1.5
"""As in the coherence gate: mean KL at most 1.5x HF bfloat16's. Here a cell fails only if even the lower bound is
above."""

MIN_DOCUMENTS = 8
LOWER_QUANTILE = 0.001


def evaluate(evidence: Evidence, checks: Sequence[str] = (), settings: Sequence[str] = ()) -> list[Verdict]:
    """One Verdict per cell, and last the surface that separates.

    ``checks`` of the coherence gate and ``settings`` of the samplers gate have failed.
    """
    name = f"{evidence['engine']} on {evidence['model']}"
    verdicts = [_verdict(name, cell) for cell in evidence["cells"]]
    return [*verdicts, _separating(name, evidence, verdicts, checks, settings)]


def subjects(engine: str, model: str, cells: Iterable[str]) -> list[str]:
    """What ``evaluate`` gives verdicts on."""
    return [f"{engine} on {model}: {cell}" for cell in (*cells, SEPARATING)]


SEPARATING = "what separates right from wrong"


def _verdict(name: str, cell: Cell) -> Verdict:
    subject, outcomes = f"{name}: {cell['name']}", cell["outcomes"]

    def made(status: Status, message: str, **more: Any) -> Verdict:
        return Verdict(NAME, subject, status, message, seconds=round(cell["seconds"], 2), **more)

    if cell["skipped"]:
        return made(Status.SKIPPED, cell["skipped"])
    if cell["error"]:
        return made(Status.ERROR, f"the engine {cell['error']}")
    wrong = [outcome for outcome in outcomes if outcome["wrong_at"] is not None]
    metrics = _metrics(outcomes, cell)
    counted = partial(made, value=len(wrong), limit=0, unit="wrong answers", metrics=metrics)
    if wrong:
        first = wrong[0]
        where = f" (row {first['row']} of {first['batch']})" if first["batch"] > 1 else ""
        message = f"{len(wrong)} of {len(outcomes)} answers are wrong: {first['what']}{where}"
        return counted(Status.FAIL, message)
    if cell["must_be_equal"] and cell["differing"]:
        message = (
            f"{cell['differing']} of {cell['compared']} logits differ in bits between batch and alone, but the engine "
            "claims to be batch-invariant"
        )
        return made(Status.FAIL, message, value=cell["differing"], limit=0, unit="numbers", metrics=metrics)
    lowest = lower_bound(outcomes)
    if lowest is not None and lowest > RATIO:
        message = (
            f"no single answer is wrong, but mean KL to HF float32 is {metrics['kl_ratio']:.3g}x HF bfloat16's (99.9%: "
            f"at least {lowest:.3g}x); at most {RATIO}x is allowed"
        )
        return made(Status.FAIL, message, value=lowest, limit=RATIO, unit="x HF bfloat16", metrics=metrics)
    return counted(Status.PASS, _right(outcomes, cell, metrics))


class Metrics(TypedDict, total=False):
    """The metrics of a cell's verdict: how close its answers came; some apply only to some cells."""

    answers: int
    positions: int
    kl_used: float
    kl_ratio: float
    differing: int
    compared: int


def _metrics(outcomes: Sequence[Outcome], cell: Cell) -> Metrics:
    floor = sum(outcome["kl_floor"] for outcome in outcomes)
    metrics: Metrics = {
        "answers": len(outcomes),
        "positions": sum(outcome["positions"] for outcome in outcomes),
        "kl_used": max((outcome["used"] for outcome in outcomes), default=0.0),
    }
    if floor:
        metrics["kl_ratio"] = sum(outcome["kl"] for outcome in outcomes) / floor
    if cell["compared"]:
        metrics |= {"differing": cell["differing"], "compared": cell["compared"]}
    return metrics


def _right(outcomes: Sequence[Outcome], cell: Cell, metrics: Metrics) -> str:
    parts = []
    if ratio := metrics.get("kl_ratio"):
        parts.append(f"KL is {ratio:.2g}x HF bfloat16's, at most {metrics['kl_used']:.2g} of a position's limit")
    tokens = sum(outcome["positions"] for outcome in outcomes if outcome["phase"] != "prefill")
    if tokens:
        parts.append(f"{tokens} tokens equal those that HF is sure of")
    if cell["compared"]:
        parts.append(f"{cell['differing']} of {cell['compared']} logits differ in bits from those alone")
    return f"{len(outcomes)} answers are right: {'; '.join(parts)}" if parts else f"{len(outcomes)} answers are right"


def lower_bound(outcomes: Sequence[Outcome]) -> float | None:
    """The 0.1% quantile of KL over HF bfloat16's, resampled by document; None for too few documents."""
    import numpy as np

    sums: dict[int, list[float]] = {}
    for outcome in outcomes:
        if outcome["kl_floor"] > 0:
            row = sums.setdefault(outcome["document"], [0.0, 0.0])
            row[0] += outcome["kl"]
            row[1] += outcome["kl_floor"]
    if len(sums) < MIN_DOCUMENTS:
        return None
    engine, floor = np.array(list(sums.values())).T
    units = len(sums)
    drawn = np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), size=4000)
    return float(np.quantile(drawn @ engine / (drawn @ floor), LOWER_QUANTILE))


def _separating(
    name: str, evidence: Evidence, verdicts: Sequence[Verdict], checks: Sequence[str], settings: Sequence[str]
) -> Verdict:  # fmt: skip
    outcomes = [*(cell["outcomes"] for cell in evidence["cells"]), evidence["fresh"]]
    failed = [verdict for verdict in verdicts if verdict.status == Status.FAIL]
    ended = [cell["name"] for cell in evidence["cells"] if cell["error"]]
    parts = [f"wrong {surface}"] if (surface := separate(outcomes)) else []
    if failed and not surface:
        parts.append(f"not near enough in {', '.join(verdict.subject.rpartition(': ')[2] for verdict in failed)}")
    if ended:
        parts.append(f"gives no answer in {', '.join(ended)}")
    if settings and not parts and all(name.endswith("under HF") for name in settings):
        parts.append(f"wrong only in {', '.join(settings)}")
    elif settings:
        parts.append(("samples" if parts else "wrong only in sampling,") + f" with {', '.join(settings)}")
    if checks:
        parts.append(f"{', '.join(checks)} fails" + ("" if parts else " on every surface alike"))
    status = Status.FAIL if failed or checks or settings else Status.ERROR if ended else Status.PASS
    if not any(outcomes) and not parts:
        status, parts = Status.SKIPPED, ["the engine answered no request"]
    message = "; ".join(parts) or "nothing: all tested surfaces agree with HF"
    return Verdict(NAME, f"{name}: {SEPARATING}", status, message, metrics={"finding": surface})
