"""The contract gate: behaviour that ops declare beyond their cases, such as positions outside the table, ties and empty
rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck.gates import violations
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def subjects(settings: Settings) -> list[str]:
    """The ops that declare anything beyond their cases."""
    from braidcheck.gates.edges.measure import edge_checks

    return [name for name, op in chosen_ops(settings).items() if any(edge_checks(op, op.call, "cpu"))]


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run the contract checks of each op."""
    from braidcheck import kernels
    from braidcheck.gates.edges.measure import edge_checks
    from braidcheck.gates.under_test import run_check, wrapper

    for op in subjects:
        checks = edge_checks(kernels.find()[op], wrapper(op), settings.device)
        yield violations.evaluate("edges", op, {name: run_check(check) for name, check in checks})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.edges.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="edges",
    question="Does each op keep its contract at edge cases: positions outside the RoPE table, empty rows, ties?",
    failure_page="memory",
    subjects=subjects,
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
