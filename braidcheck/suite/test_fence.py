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
    from braidcheck.evidence.op import observe_op
    from braidcheck.evidence.probes import asked, wrapper
    from braidcheck.evidence.probes.fence import fences
    from braidcheck.gates import accuracy, promises

    judged, call = kernels.find()[op], wrapper(op)

    def look(case, guard):
        return accuracy.complaint(observe_op(judged, case, settings.device, guard(call)))

    looks = {subject: partial(look, case, guard) for subject, case, guard in fences(judged, settings.device)}
    return promises.judge("fence", op, {subject: asked(look) for subject, look in looks.items()})
