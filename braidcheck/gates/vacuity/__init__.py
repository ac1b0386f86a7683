"""The vacuity gate (negative controls): would an op's cases detect a wrong answer? An op that no case can fail is
untested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from braidcheck.gates.gate import ALL_OPS, Gate, Progress, chosen_ops
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings


class Evidence(TypedDict):
    """One wrong answer to an op: ``caught_by`` are the ids of the cases that detect it."""

    op: str
    answer: str
    caught_by: list[str]


def evaluate(evidence: Sequence[Evidence], op: str, lane: str = "") -> Verdict:
    """One verdict on ``op`` from the evidence of ``measure.measure_vacuity``: fail if a wrong answer gets through."""
    missed = [row["answer"] for row in evidence if not row["caught_by"]]
    status, message = Status.PASS, f"each of {len(evidence)} negative controls fails on some case"
    if missed or not evidence:
        status, message = Status.FAIL, f"no case of {op} detects a wrong result: {', '.join(missed) or 'anything'}"
    return Verdict(
        gate="vacuity",
        subject=op,
        status=status,
        message=message,
        value=len(missed),
        limit=0,
        unit="wrong answers let through",
        lane=lane,
        metrics={row["answer"]: row["caught_by"][:1] for row in evidence},
    )


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run the negative controls of each op. No kernel runs, so they use the CPU in every lane."""
    from braidcheck import kernels
    from braidcheck.gates.vacuity.measure import measure_vacuity

    for op in subjects:
        yield evaluate(measure_vacuity(kernels.find()[op]), op)


GATE = Gate(
    name="vacuity",
    question="Would the cases of each op detect a wrong answer (negative controls)?",
    failure_page="coverage",
    subjects=lambda settings: list(chosen_ops(settings)),
    run=run,
    per_op=True,
    stand_in=ALL_OPS,
)
