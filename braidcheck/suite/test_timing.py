"""Every kernel's time in production shapes; on a GPU only, and alone on it."""

from __future__ import annotations

import pytest

from braidcheck.gates import timing
from braidcheck.plugin import SETTINGS

pytestmark = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc):
    metafunc.parametrize("name", _names(metafunc.config.stash[SETTINGS]))


@pytest.fixture(scope="module")
def verdicts(settings, progress):
    evidence = None
    if settings.lane == "gpu":
        from braidcheck import kernels
        from braidcheck.benchmarks.timing import observe_timing

        evidence = observe_timing(kernels.find(), progress)
    return {verdict.subject: verdict for verdict in timing.evaluate(evidence, settings.lane, _names(settings))}


def test_timing(name, verdicts):
    return verdicts[name]


def _names(settings):
    if settings.lane != "gpu":
        return [timing.EVERY]
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import series

    return [one.name for one in series(kernels.find())]
