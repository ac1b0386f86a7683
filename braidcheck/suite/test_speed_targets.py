"""The documents' speed targets; on a GPU only, and alone on it."""

from __future__ import annotations

import pytest

from braidcheck.gates import speed_targets
from braidcheck.plugin import SETTINGS

pytestmark = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc):
    gpu = metafunc.config.stash[SETTINGS].lane == "gpu"
    metafunc.parametrize("check", speed_targets.CHECKS if gpu else [speed_targets.EVERY])


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    evidence = None
    if settings.lane == "gpu":
        from braidcheck.benchmarks.fusions import observe_rivals

        evidence = observe_rivals(progress)
    return {verdict.subject: verdict for verdict in speed_targets.evaluate(evidence, settings.lane)}


def test_speed_targets(check, verdicts):
    return verdicts[check]
