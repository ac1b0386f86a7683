"""The calls gate: a result depends on its input values alone, not on earlier calls or memory layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck.gates import violations
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Call each op repeatedly, among other calls, and with other memory layouts."""
    from braidcheck import kernels
    from braidcheck.gates.calls.measure import op_checks
    from braidcheck.gates.under_test import run_check

    for op in subjects:
        checks = op_checks(kernels.find()[op], settings.device)
        yield violations.evaluate("calls", op, {name: run_check(check) for name, check in checks.items()})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.calls.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="calls",
    question="Does a result depend on its input values alone, not on earlier calls, other results or memory layout?",
    failure_page="memory",
    subjects=lambda settings: list(chosen_ops(settings)),
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
