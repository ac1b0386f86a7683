"""Every op run again on the same inputs, and on single rows: the bits must stay the same."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict
from braidcheck.suite import each_op

REPEATS = {"gpu": 20, "interpret": 3}  # the interpreter is slow, and has no thread or atomic to race


pytest_generate_tests = each_op


def test_determinism(op, settings):
    reason = why_no_triton()
    if reason:
        return Verdict("determinism", op, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.gates import determinism
    from braidcheck.gates.determinism.measure import observe_determinism
    from braidcheck.gates.under_test import wrapper

    judged = replace(kernels.find()[op], call=wrapper(op))
    evidence = observe_determinism(judged, settings.device, REPEATS[settings.lane])
    return determinism.evaluate(evidence, op)
