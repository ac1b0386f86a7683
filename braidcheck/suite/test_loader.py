"""The loader: what it must refuse, and what it must read all the same."""

from __future__ import annotations

import pytest

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict


@pytest.mark.parametrize("model", ["tiny"])
def test_loader(model, settings):
    if reason := why_no_triton():
        return Verdict("loader", model, Status.NOT_JUDGED, reason)
    from braidcheck.evidence.probes import asked, tiny
    from braidcheck.evidence.probes.loader import loader_probes
    from braidcheck.gates import promises

    probes = loader_probes(tiny.make(), settings.device)
    return promises.judge("loader", model, {name: asked(probe) for name, probe in probes})
