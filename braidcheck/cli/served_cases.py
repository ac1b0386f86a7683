"""How many of an op's cases a function supports: those that it refuses are skipped."""

from __future__ import annotations

from collections.abc import Sequence

from braidcheck.result import Status, Verdict

EVALUATED = (Status.PASS, Status.FAIL)
NARROW = ("bfloat16", "float16")
SUBJECT = "[served]"


def of_cases(op: str, cases: Sequence[tuple[str, Verdict]]) -> Verdict:
    """One verdict on an op's accuracy cases, each given with its dtype. Skipped if none is supported. Inconclusive if
    most are of 16-bit dtypes and none of these is supported: then the passing cases say nothing about the function's
    real use.
    """
    served = sum(verdict.status in EVALUATED for _, verdict in cases)
    message, status = f"supports {served} of {len(cases)} cases", Status.PASS if served else Status.SKIPPED
    narrow = [verdict for dtype, verdict in cases if dtype in NARROW]
    if served and 2 * len(narrow) > len(cases) and all(verdict.status == Status.SKIPPED for verdict in narrow):
        status = Status.INCONCLUSIVE
        message += f", none of {len(narrow)} of bfloat16 and float16, which are skipped: {narrow[0].message}"
    return Verdict("accuracy", f"{op}{SUBJECT}", status, message)


def is_of_all(verdict: Verdict) -> bool:
    """Whether this is the verdict on all cases, not that of a single check."""
    return verdict.subject.endswith(SUBJECT)
