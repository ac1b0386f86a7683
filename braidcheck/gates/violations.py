"""Gates made of checks that each give a violation or nothing, as out-of-bounds, contract, engine and loader are."""

from __future__ import annotations

from collections.abc import Mapping

from braidcheck.result import Status, Verdict


def evaluate(gate: str, subject: str, violations: Mapping[str, str | None], lane: str = "") -> Verdict:
    """One verdict on ``violations`` by the name of the check, None where there was none.

    Fail where there is any, error where no check ran.
    """
    broken = {check: violation for check, violation in violations.items() if violation}
    status, said = Status.PASS, f"keeps {_count(len(violations))}"
    if not violations:
        status, said = Status.ERROR, "nothing was asked"
    elif broken:
        check, violation = next(iter(broken.items()))
        more = f"; {len(broken) - 1} more of {len(violations)} fail" if len(broken) > 1 else ""
        status, said = Status.FAIL, f"{'' if check == subject else f'{check}: '}{violation}{more}"
    return Verdict(
        gate=gate,
        subject=subject,
        status=status,
        sentence=said,
        value=len(broken),
        limit=0,
        unit="broken promises",
        lane=lane,
        numbers={"asked": len(violations), "broken": broken},
    )


def _count(number: int) -> str:
    return "its promise" if number == 1 else f"all of {number} promises"
