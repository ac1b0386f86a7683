"""Every kernel next to the base's, in turns on one GPU; on a GPU only, and alone on it."""

from __future__ import annotations

import pytest

from braidcheck.gates import paired
from braidcheck.plugin import SETTINGS

pytestmark = pytest.mark.timeout(7200)


def pytest_generate_tests(metafunc):
    metafunc.parametrize("name", [one.name for one in _series(metafunc.config.stash[SETTINGS])] or [paired.EVERY])


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    wanted = _series(settings)
    evidence = {"reason": "no GPU: the static lane decides"}
    if wanted:
        from braidcheck.ci.paired.measure import observe_paired

        evidence = observe_paired(settings.against, wanted, 60 * settings.minutes, progress)
    names = [one.name for one in wanted] or [paired.EVERY]
    return {verdict.subject: verdict for verdict in paired.evaluate(evidence, settings.lane, names)}


def test_paired(name, verdicts):
    return verdicts[name]


def _series(settings):
    if settings.lane != "gpu":
        return []
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import series

    return series(kernels.find())
