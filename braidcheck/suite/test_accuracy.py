"""Every op on every case: error against the bound that the contract permits."""

from __future__ import annotations

from dataclasses import replace

from braidcheck.environment import why_no_triton
from braidcheck.plugin import SETTINGS
from braidcheck.results import Status, Verdict


def pytest_generate_tests(metafunc):
    subjects = _subjects(metafunc.config.stash[SETTINGS])
    metafunc.parametrize("look", subjects.values(), ids=subjects.keys())


def test_accuracy(look, settings):
    return look(settings)


def _subjects(settings):
    """What is judged, by the name of its verdict: a case each, and one row an op for what this lane leaves out."""
    if reason := why_no_triton():
        return {"every op": lambda _: Verdict("accuracy", "every op", Status.NOT_JUDGED, reason)}
    from braidcheck import kernels

    subjects = {}
    for op in kernels.find().values():
        if settings.ops and op.name not in settings.ops:
            continue
        left_out = [case for case in op.cases if case.large and settings.lane != "gpu"]
        subjects |= {case.id: _judge(op, case) for case in op.cases if case not in left_out}
        if left_out:
            subjects[f"{op.name}[large]"] = _leave_out(op, left_out)
    return subjects


def _judge(op, case):
    def look(settings):
        from braidcheck.evidence.op import observe_op
        from braidcheck.evidence.probes import wrapper
        from braidcheck.gates import accuracy

        verdict = accuracy.judge(observe_op(op, case, settings.device, wrapper(op.name)))
        # Other people's functions may leave an optional argument out; an op's own wrapper takes what its cases pass.
        return replace(verdict, status=Status.FAIL) if verdict.status == Status.NOT_JUDGED else verdict

    return look


def _leave_out(op, cases):
    numbers = {"subjects": [case.id for case in cases]}
    verdict = Verdict("accuracy", f"{op.name}[large]", Status.NOT_JUDGED, "large cases need a GPU", numbers=numbers)
    return lambda _: verdict
