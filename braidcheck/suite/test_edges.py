"""What ops promise at their edges: positions outside the table, rows without keys, equal logits, single rows."""

from __future__ import annotations

from braidcheck.environment import why_no_triton
from braidcheck.result import Status, Verdict
from braidcheck.suite import each_op


def pytest_generate_tests(metafunc):
    def promises_more(op):
        from braidcheck.gates.edges.measure import edge_checks

        return any(edge_checks(op, op.call, "cpu"))

    each_op(metafunc, promises_more)


def test_edges(op, settings):
    if reason := why_no_triton():
        return Verdict("edges", op, Status.NOT_JUDGED, reason)
    from braidcheck import kernels
    from braidcheck.gates import violations
    from braidcheck.gates.edges.measure import edge_checks
    from braidcheck.gates.under_test import run_check, wrapper

    probes = edge_checks(kernels.find()[op], wrapper(op), settings.device)
    return violations.evaluate("edges", op, {name: run_check(probe) for name, probe in probes})
