"""Evaluation of gates whose checks each return a violation or None, such as out-of-bounds, contract, engine and
loader."""

from __future__ import annotations

from collections.abc import Mapping

from braidcheck.result import Status, Verdict


def evaluate(gate: str, subject: str, violations: Mapping[str, str | None], lane: str = "") -> Verdict:
    """One verdict on ``violations``, by name of the check, None for a passed one. Fail if there is any, error if no
    check ran.
    """
    broken = {check: violation for check, violation in violations.items() if violation}
    status, message = Status.PASS, f"{_count(len(violations))}"
    if not violations:
        status, message = Status.ERROR, "no check was run"
    elif broken:
        check, violation = next(iter(broken.items()))
        more = f"; {len(broken) - 1} more of {len(violations)} fail" if len(broken) > 1 else ""
        status, message = Status.FAIL, f"{'' if check == subject else f'{check}: '}{violation}{more}"
    return Verdict(
        gate=gate,
        subject=subject,
        status=status,
        message=message,
        value=len(broken),
        limit=0,
        unit="contract violations",
        lane=lane,
        metrics={"asked": len(violations), "broken": broken},
    )


def _count(number: int) -> str:
    return "1 contract check passed" if number == 1 else f"{number} contract checks passed"
