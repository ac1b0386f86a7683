"""The engine with a tiny model of unusual sizes and constants, next to HF: every attention flow, prefill and decode."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.results import Status, Verdict

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("model", ["tiny"])
def test_engine(model, settings):
    if reason := why_no_triton():
        return Verdict("engine", model, Status.NOT_JUDGED, reason)
    from braidcheck.evidence.probes import asked, tiny
    from braidcheck.evidence.probes.engine import engine_probes
    from braidcheck.gates import promises

    probes = engine_probes(tiny.make(), tiny.make(tied=False), settings.device)
    return promises.judge("engine", model, {name: asked(probe) for name, probe in probes})
