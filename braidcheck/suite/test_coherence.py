"""The whole model next to its golden: one observation, many checks."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.gates import coherence
from braidcheck.plugin import SETTINGS
from braidcheck.result import Status, Verdict

pytestmark = pytest.mark.timeout(7200)


def pytest_generate_tests(metafunc):
    model = metafunc.config.stash[SETTINGS].model_name
    metafunc.parametrize("subject", [f"{model}: {check}" for check in coherence.CHECKS])


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    from braidcheck.gates.coherence.blame import find_blame
    from braidcheck.gates.coherence.measure import observe_coherence
    from braidcheck.gates.under_test import module
    from braidcheck.golden.resolve import resolve

    checkpoint, golden = resolve(settings.model, settings.dataset, settings.revision, settings.device)
    engine = module("models.qwen3.engine").Engine.load(checkpoint, settings.device, attention=settings.attention)
    evidence = observe_coherence(engine, golden, progress)
    if failing := coherence.failing(evidence):
        evidence["blame"] = find_blame(engine, golden, failing, coherence.failing, progress)
    return {verdict.subject: verdict for verdict in coherence.evaluate(evidence, settings.lane)}


def test_coherence(subject, request):
    if reason := why_no_triton():
        return Verdict("coherence", subject, Status.NOT_JUDGED, reason)
    return request.getfixturevalue("verdicts")[subject]
