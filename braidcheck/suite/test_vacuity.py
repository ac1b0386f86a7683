"""Every op's cases, asked whether they could tell a wrong answer; no kernel runs, so any lane can ask."""

from __future__ import annotations

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict
from braidcheck.suite import each_op

pytest_generate_tests = each_op


def test_vacuity(op):
    reason = why_no_triton()
    if reason:
        return Verdict("vacuity", op, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.gates import vacuity
    from braidcheck.gates.vacuity.measure import observe_vacuity

    return vacuity.evaluate(observe_vacuity(kernels.find()[op]), op)
