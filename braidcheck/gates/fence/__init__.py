"""The out-of-bounds gate: guards around every tensor and gaps between its rows detect accesses outside of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck.gates import violations
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Check each op with guarded tensors, on all of its cases that are not large."""
    from braidcheck import kernels
    from braidcheck.gates.fence.measure import op_checks
    from braidcheck.gates.under_test import run_check

    for op in subjects:
        checks = op_checks(kernels.find()[op], settings.device)
        yield violations.evaluate("fence", op, {name: run_check(check) for name, check in checks.items()})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.fence.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="fence",
    question="Does each kernel read and write only inside the tensors that it is given?",
    failure_page="memory",
    subjects=lambda settings: list(chosen_ops(settings)),
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
