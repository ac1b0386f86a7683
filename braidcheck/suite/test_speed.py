"""Tokens per second next to Hugging Face's own; on a GPU only, and alone on it."""

from __future__ import annotations

import pytest

from braidcheck.gates import speed
from braidcheck.plugin import SETTINGS

pytestmark = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc):
    lane = metafunc.config.stash[SETTINGS].lane
    checks = speed.CHECKS if lane == "gpu" else [verdict.subject for verdict in speed.evaluate(None, lane)]
    metafunc.parametrize("check", checks)


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    evidence = None
    if settings.lane == "gpu":
        from braidcheck.benchmarks.speed import observe_speed

        evidence = observe_speed(settings.device, progress)
    return {verdict.subject: verdict for verdict in speed.evaluate(evidence, settings.lane)}


def test_speed(check, verdicts):
    return verdicts[check]
