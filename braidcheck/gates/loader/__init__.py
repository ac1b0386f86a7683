"""The loader gate: checkpoints that must be refused, and unusual ones that must load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braidcheck import models
from braidcheck.gates import violations
from braidcheck.gates.engine import tiny_models, tiny_name
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Load copies of a tiny checkpoint, each with one change."""
    from braidcheck.gates.loader.measure import loader_checks
    from braidcheck.gates.under_test import run_check

    names = {tiny_name(architecture): name for name, architecture in models.find().items()}
    for subject in subjects:
        checks = loader_checks(tiny_models(names[subject])[0], settings.device)
        yield violations.evaluate("loader", subject, {name: run_check(check) for name, check in checks})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.loader.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="loader",
    question="Does the loader read valid checkpoints and refuse what the model cannot run?",
    failure_page="model",
    subjects=lambda settings: [tiny_name(architecture) for architecture in models.find().values()],
    run=run,
    runs_kernels=True,
    load_trial_checks=_trial_checks,
)
