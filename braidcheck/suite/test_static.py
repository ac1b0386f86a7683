"""Every op compiled for every target, wherever this runs: one observation, two verdicts an op and target."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.gates import static
from braidcheck.plugin import SETTINGS
from braidcheck.result import Status, Verdict

pytestmark = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc):
    ops = metafunc.config.stash[SETTINGS].ops
    subjects = ["every op"]
    if not why_no_triton():
        from braidcheck import kernels

        subjects = [subject for op in kernels.find() if not ops or op in ops for subject in static.subjects(op)]
    metafunc.parametrize("subject", subjects)


@pytest.fixture(scope="module")
def verdicts(request, settings, progress):
    from braidcheck.static import baseline
    from braidcheck.static.observe import observe_static

    subjects = [item.callspec.params["subject"] for item in request.session.items if item.module is request.module]
    ops = tuple(dict.fromkeys(subject.split("[")[0] for subject in subjects))
    evidence = observe_static(ops, progress)
    held = baseline.read(evidence["triton"]), baseline.excused(evidence["triton"])
    found = [verdict for op in ops for verdict in static.evaluate(evidence, held[0], op, settings.lane, held[1])]
    return {verdict.subject: verdict for verdict in found}


def test_static(subject, request):
    if reason := why_no_triton():
        return Verdict("static", subject, Status.NOT_JUDGED, reason)
    return request.getfixturevalue("verdicts")[subject]
