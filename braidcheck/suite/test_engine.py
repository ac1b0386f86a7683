"""The engine with a tiny model of unusual sizes and constants, next to HF: every attention flow, prefill and decode."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.gates import violations
from braidcheck.result import Status, Verdict
from braidcheck.settings import ENGINE_PARTS

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def tiny_models():
    from braidcheck.gates.engine import tiny

    return tiny.make(), tiny.make(tied=False)


@pytest.mark.parametrize("subject", [f"tiny: {part}" for part in ENGINE_PARTS])
def test_engine(subject, settings, request):
    if reason := why_no_triton():
        return Verdict("engine", subject, Status.NOT_JUDGED, reason)
    from braidcheck.gates.engine.measure import engine_part
    from braidcheck.gates.under_test import run_check

    models = request.getfixturevalue("tiny_models")
    probes = engine_part(subject.removeprefix("tiny: "), *models, settings.device)
    return violations.evaluate("engine", subject, {name: run_check(probe) for name, probe in probes})
