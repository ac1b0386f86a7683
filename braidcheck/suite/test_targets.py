"""The documents' targets that need no clock, on the op and the numbers that they speak of."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.gates import targets
from braidcheck.result import Status, Verdict


@pytest.mark.parametrize("check", targets.CHECKS)
def test_targets(check, settings):
    if reason := why_no_triton():
        return Verdict("targets", check, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.gates.accuracy.measure import observe_op
    from braidcheck.gates.under_test import wrapper

    if check == targets.TRAFFIC:
        from braidcheck.benchmarks.traffic import FUSED, observe_traffic

        return targets.evaluate_traffic(observe_traffic(settings.device, wrapper(FUSED)))
    target = targets.TARGETS[check]
    op = kernels.find()[target.op]
    wanted = [
        case
        for case in op.cases
        if (case.profile, case.dtype) == (target.profile, target.dtype) and (settings.lane == "gpu" or not case.large)
    ]
    call = wrapper(op.name)
    return targets.evaluate([observe_op(op, case, settings.device, call) for case in wanted], check)
