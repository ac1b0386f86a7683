"""How many cases a function serves, and when too few for a verdict."""

import pytest

from braidcheck.cli.served_cases import of_cases
from braidcheck.result import Run, Status, Verdict


def found(*cases):
    return of_cases("rms_norm", [(dtype, Verdict("accuracy", "a", status, "too narrow")) for dtype, status in cases])


PASS, FAIL, SKIPPED, ERROR = Status.PASS, Status.FAIL, Status.SKIPPED, Status.ERROR


@pytest.mark.parametrize(
    ("cases", "says", "status", "code"),
    [
        ([("bfloat16", PASS), ("float32", PASS)], "supports 2 of 2 cases", PASS, 0),
        ([("bfloat16", PASS), ("float16", SKIPPED)], "supports 1 of 2 cases", PASS, 0),
        ([("bfloat16", SKIPPED), ("float32", SKIPPED)], "supports 0 of 2 cases", SKIPPED, 3),
        ([("bfloat16", SKIPPED), ("float16", FAIL), ("float32", ERROR)], "supports 1 of 3 cases", PASS, 0),
        # A sampler, most of whose cases are in float32.
        ([("bfloat16", SKIPPED), ("float32", PASS), ("float32", PASS)], "supports 2 of 3 cases", PASS, 0),
        (
            [("bfloat16", SKIPPED), ("float16", SKIPPED), ("float32", PASS)],
            "supports 1 of 3 cases, none of 2 of bfloat16 and float16, which are skipped: too narrow",
            Status.INCONCLUSIVE,
            3,
        ),
    ],
)
def test_cases_that_are_served_are_counted(cases, says, status, code):
    verdict = found(*cases)
    assert (verdict.message, verdict.status) == (says, status)
    assert Run({}, (), (verdict,)).exit_code == code
