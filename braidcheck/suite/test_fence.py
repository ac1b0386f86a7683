"""Every op with its tensors fenced in and their rows apart: reads and writes outside of them show."""

from __future__ import annotations

from functools import partial

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict
from braidcheck.suite import each_op

pytest_generate_tests = each_op


def test_fence(op, settings):
    if reason := why_no_triton():
        return Verdict("fence", op, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.gates import accuracy, violations
    from braidcheck.gates.accuracy.measure import observe_op
    from braidcheck.gates.fence.measure import fences
    from braidcheck.gates.under_test import run_check, wrapper

    judged, call = kernels.find()[op], wrapper(op)

    def look(case, guard):
        return accuracy.complaint(observe_op(judged, case, settings.device, guard(call)))

    looks = {subject: partial(look, case, guard) for subject, case, guard in fences(judged, settings.device)}
    return violations.evaluate("fence", op, {subject: run_check(look) for subject, look in looks.items()})
