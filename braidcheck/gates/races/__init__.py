"""The races gate: accesses of programs and launches to the same memory are ordered, whatever the execution order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck import external_ops
from braidcheck.gates import violations
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Look for races in each op: on a CPU in recorded accesses, on a GPU in results under delays."""
    from braidcheck import kernels
    from braidcheck.gates.races import delays, measure
    from braidcheck.gates.under_test import run_check

    checks_of = measure.op_checks if settings.lane == "interpret" else delays.delayed_cases
    for op in subjects:
        results = {name: run_check(check) for name, check in checks_of(kernels.find()[op])}
        yield violations.evaluate("races", op, results, settings.lane)


def _subjects(settings: Settings) -> list[str]:
    """The ops; on a GPU only this package's ops whose programs share an atomic. There step_races covers launches."""
    from braidcheck.gates.races.delays import has_atomics

    ops = chosen_ops(settings)
    if settings.lane == "interpret":
        return list(ops)
    return [name for name in ops if not external_ops.module_of(name) and has_atomics(name)]


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.races.trials import op_trials

    return op_trials


GATE = Gate(
    name="races",
    question="Is every access to memory that programs or launches share ordered by an atomic, a barrier or a wait?",
    failure_page="order",
    subjects=_subjects,
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
