"""The races gate: what programs and launches do to the same memory is ordered, whatever the order they run in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck.gates import violations
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Look for races in each op: on a CPU in what its programs did, on a GPU in results under delays."""
    from braidcheck import kernels
    from braidcheck.gates.races.measure import op_checks
    from braidcheck.gates.under_test import run_check

    for op in subjects:
        checks = op_checks(kernels.find()[op])
        yield violations.evaluate("races", op, {name: run_check(check) for name, check in checks})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.races.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="races",
    question="Is every access to memory that programs or launches share ordered by an atomic, a barrier or a wait?",
    subjects=lambda settings: list(chosen_ops(settings)),
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
