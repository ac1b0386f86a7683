"""How many of the cases that were asked a function serves: what it refuses is skipped."""

from __future__ import annotations

from collections.abc import Sequence

from braidcheck.result import Status, Verdict

EVALUATED = (Status.PASS, Status.FAIL)
NARROW = ("bfloat16", "float16")
SUBJECT = "[served]"


def of_cases(op: str, cases: Sequence[tuple[str, Verdict]]) -> Verdict:
    """One verdict on the accuracy cases of an op that were asked, each with its dtype.

    Skipped where none is served. Inconclusive where most are of 16-bit dtypes and none of these is served: that others
    pass says nothing of what the function is used for.
    """
    served = sum(verdict.status in EVALUATED for _, verdict in cases)
    message, status = f"served {served} of {len(cases)} cases", Status.PASS if served else Status.SKIPPED
    narrow = [verdict for dtype, verdict in cases if dtype in NARROW]
    if served and 2 * len(narrow) > len(cases) and all(verdict.status == Status.SKIPPED for verdict in narrow):
        status = Status.INCONCLUSIVE
        message += f", none of {len(narrow)} of bfloat16 and float16, which are skipped: {narrow[0].message}"
    return Verdict("accuracy", f"{op}{SUBJECT}", status, message)


def is_of_all(verdict: Verdict) -> bool:
    """Whether it is the one on all cases, which no check alone gives."""
    return verdict.subject.endswith(SUBJECT)
