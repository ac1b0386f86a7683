"""The determinism gate: same inputs, same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypedDict

from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

REPEATS = {"gpu": 20, "interpret": 3}  # the interpreter is slow and has no threads that could race


class Evidence(TypedDict):
    """One case: how many of ``repeats`` runs differ in any bit from the first."""

    op: str
    case: str
    repeats: int
    differing: int


def evaluate(evidence: Sequence[Evidence], op: str, lane: str = "") -> Verdict:
    """One verdict on ``op`` from the evidence of ``measure.measure_determinism``: fail if any bit differs. A case that
    ran only once, or no case at all, is an error.
    """
    differing = [row for row in evidence if row["differing"]]
    repeats = min((row["repeats"] for row in evidence), default=0)
    status, message = Status.PASS, f"{op}: {repeats} runs of {len(evidence)} cases gave the same bits"
    if differing:
        differences = (f"{row['differing']} of {row['repeats']} runs of {row['case']}" for row in differing)
        status, message = Status.FAIL, f"{op}: {'; '.join(differences)} gave other bits than the first run"
    elif repeats < 2:
        status, message = Status.ERROR, f"{op} was not run twice on any case"
    return Verdict(
        gate="determinism",
        subject=op,
        status=status,
        message=message,
        value=sum(row["differing"] for row in evidence),
        limit=0,
        unit="runs with other bits",
        lane=lane,
        metrics={"cases": [row["case"] for row in evidence], "repeats": repeats},
    )


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run each op repeatedly on the same inputs."""
    from braidcheck import kernels
    from braidcheck.gates.determinism.measure import measure_determinism
    from braidcheck.gates.under_test import wrapper

    for op in subjects:
        under_test = replace(kernels.find()[op], call=wrapper(op))
        yield evaluate(measure_determinism(under_test, settings.device, REPEATS[settings.lane]), op)


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.determinism.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="determinism",
    question="Do the same inputs give the same bits?",
    failure_page="order",
    subjects=lambda settings: list(chosen_ops(settings)),
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
