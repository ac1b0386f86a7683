"""What ops promise at their edges: positions outside the table, rows without keys, equal logits, single rows."""

from __future__ import annotations

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict
from braidcheck.suite import each_op


def pytest_generate_tests(metafunc):
    def promises_more(op):
        from braidcheck.evidence.probes.edges import edge_probes

        return any(edge_probes(op, op.call, "cpu"))

    each_op(metafunc, promises_more)


def test_edges(op, settings):
    if reason := why_no_triton():
        return Verdict("edges", op, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.evidence.probes import asked, wrapper
    from braidcheck.evidence.probes.edges import edge_probes
    from braidcheck.gates import promises

    probes = edge_probes(kernels.find()[op], wrapper(op), settings.device)
    return promises.judge("edges", op, {name: asked(probe) for name, probe in probes})
