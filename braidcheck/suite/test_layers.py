"""A model of Qwen3-0.6B's full size, judged layer by layer; on a GPU only."""

from __future__ import annotations

import pytest

from braidcheck.gates import layers
from braidcheck.plugin import SETTINGS

pytestmark = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc):
    lane = metafunc.config.stash[SETTINGS].lane
    checks = layers.CHECKS if lane == "gpu" else [verdict.subject for verdict in layers.evaluate(None, lane)]
    metafunc.parametrize("check", checks)


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    evidence = None
    if settings.lane == "gpu":
        from braidcheck.gates.layers.measure import observe_layers

        evidence = observe_layers(settings.device, progress, attention=settings.attention, limit=layers.LIMIT)
    return {verdict.subject: verdict for verdict in layers.evaluate(evidence, settings.lane)}


def test_layers(check, verdicts):
    return verdicts[check]
