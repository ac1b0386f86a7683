"""The decode races gate: launches of a decode step wait for those whose data they read, and leave counters at zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck import models
from braidcheck.gates import violations
from braidcheck.gates.engine import tiny_name
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Look for races between the launches of decode steps: on a CPU in what they did, on a GPU under delays."""
    from braidcheck.gates.races import delays, steps
    from braidcheck.gates.under_test import run_check

    checks_of = steps.step_checks if settings.lane == "interpret" else delays.delayed_steps
    names = {tiny_name(architecture): architecture for architecture in models.find().values()}
    for subject in subjects:
        checks = checks_of(names[subject])
        yield violations.evaluate(
            "step_races", subject, {name: run_check(check) for name, check in checks}, settings.lane
        )


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.races.trials import step_trials

    return step_trials


GATE = Gate(
    name="step_races",
    question="Does each launch of a decode step wait for the launches whose data it reads or overwrites?",
    subjects=lambda settings: [tiny_name(architecture) for architecture in models.find().values()],
    run=run,
    runs_kernels=True,
    load_trial_checks=_trial_checks,
)
