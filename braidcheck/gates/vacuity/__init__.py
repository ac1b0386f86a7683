"""The vacuity gate: would an op's cases notice a wrong answer? An op that no case can fail is not tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.result import Status, Verdict


def evaluate(evidence: Sequence[Mapping[str, Any]], op: str, lane: str = "") -> Verdict:
    """One verdict on ``op`` from what ``measure.observe_vacuity`` saw: fail if a wrong answer gets through."""
    missed = [row["answer"] for row in evidence if not row["caught_by"]]
    status, said = Status.PASS, f"each of {len(evidence)} wrong answers fails on some case"
    if missed or not evidence:
        status, said = Status.FAIL, f"no case of {op} tells the truth from: {', '.join(missed) or 'anything'}"
    return Verdict(
        gate="vacuity",
        subject=op,
        status=status,
        sentence=said,
        value=len(missed),
        limit=0,
        unit="wrong answers let through",
        lane=lane,
        numbers={row["answer"]: row["caught_by"][:1] for row in evidence},
    )
