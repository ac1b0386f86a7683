"""Every op on every case: error against the bound that the contract permits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.plugin import SETTINGS
from braidcheck.result import Status, Verdict

# GPU memory at the peak over the bytes of the inputs: they are there three times in their own type, once in float64,
# and references and bounds work in float64. The largest seen on an H200 is 38, of rms_norm[T65536].
PEAK_PER_INPUT_BYTE = 40


def pytest_generate_tests(metafunc):
    metafunc.parametrize("look", _subjects(metafunc.config.stash[SETTINGS]))


def test_accuracy(look, settings):
    return look(settings)


def _subjects(settings):
    """What is judged, with the name of its verdict: a case each, and one row an op for what this lane leaves out."""
    if reason := why_no_triton():
        verdict = Verdict("accuracy", "every op", Status.NOT_JUDGED, reason)
        return [pytest.param(lambda _: verdict, id="every op")]
    from braidcheck import kernels

    subjects = []
    for op in kernels.find().values():
        if settings.ops and op.name not in settings.ops:
            continue
        left_out = [case for case in op.cases if case.large and settings.lane != "gpu"]
        subjects += [_subject(op, case) for case in op.cases if case not in left_out]
        if left_out:
            subjects.append(pytest.param(_leave_out(op, left_out), id=f"{op.name}[large]"))
    return subjects


def _subject(op, case):
    marks = [pytest.mark.gpu_memory(partial(_peak_bytes, op, case))] if case.large else []
    return pytest.param(_judge(op, case), id=case.id, marks=marks)


def _peak_bytes(op, case):
    from braidcheck.numerics.calls import input_bytes

    return PEAK_PER_INPUT_BYTE * input_bytes(op, case)


def _judge(op, case):
    def look(settings):
        from braidcheck.gates import accuracy
        from braidcheck.gates.accuracy.measure import observe_op
        from braidcheck.gates.under_test import wrapper

        verdict = accuracy.evaluate(observe_op(op, case, settings.device, wrapper(op.name)))
        # Other people's functions may leave an optional argument out; an op's own wrapper takes what its cases pass.
        return replace(verdict, status=Status.FAIL) if verdict.status == Status.NOT_JUDGED else verdict

    return look


def _leave_out(op, cases):
    numbers = {"subjects": [case.id for case in cases]}
    verdict = Verdict("accuracy", f"{op.name}[large]", Status.NOT_JUDGED, "large cases need a GPU", numbers=numbers)
    return lambda _: verdict
