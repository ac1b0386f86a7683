"""The decode races gate: launches of a decode step or a prompt wait for those whose data they read, and leave counters
at zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck import models
from braidcheck.gates import violations
from braidcheck.gates.engine import tiny_name
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Look for races between launches of decode steps and prompts: on a CPU in recorded accesses, on a GPU under
    delays."""
    from braidcheck.gates.races import delays, steps
    from braidcheck.gates.under_test import run_check

    checks_of = steps.step_checks if settings.lane == "interpret" else delays.delayed_steps
    checks = {
        f"{tiny_name(architecture)}: {step}": (step, check)
        for architecture in models.find().values()
        for step, check in checks_of(architecture)
    }
    for subject in subjects:
        step, check = checks[subject]
        yield violations.evaluate("step_races", subject, {step: run_check(check)}, settings.lane)


def _subjects(settings: Settings) -> list[str]:
    from braidcheck.gates.races.steps import steps

    return [f"{tiny_name(model)}: {step}" for model in models.find().values() for step in steps(model)]


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.races.trials import step_trials

    return step_trials


GATE = Gate(
    name="step_races",
    question="Does each launch of a decode step or a prompt wait for the launches whose data it reads or overwrites?",
    failure_page="order",
    subjects=_subjects,
    run=run,
    runs_kernels=True,
    load_trial_checks=_trial_checks,
)
