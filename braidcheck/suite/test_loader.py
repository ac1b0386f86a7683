"""The loader: what it must refuse, and what it must read all the same."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict


@pytest.mark.parametrize("model", ["tiny"])
def test_loader(model, settings):
    if reason := why_no_triton():
        return Verdict("loader", model, Status.NOT_JUDGED, reason)
    from braidcheck.gates import violations
    from braidcheck.gates.engine import tiny
    from braidcheck.gates.loader.measure import loader_checks
    from braidcheck.gates.under_test import run_check

    probes = loader_checks(tiny.make(), settings.device)
    return violations.evaluate("loader", model, {name: run_check(probe) for name, probe in probes})
