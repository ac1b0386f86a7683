"""The engine gate: a tiny model of unusual sizes and constants next to HF, in every attention backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from braidcheck.gates import violations
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.result import Verdict
from braidcheck.settings import ENGINE_PARTS, Settings

PREFIX = "tiny: "


@cache
def _tiny_models() -> tuple[Any, Any]:
    """With a tied and with an own output projection, made once a process."""
    from braidcheck.gates.engine import tiny

    return tiny.make(), tiny.make(tied=False)


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run the checks of each part of the engine."""
    from braidcheck.gates.engine.measure import engine_part
    from braidcheck.gates.under_test import run_check

    for subject in subjects:
        checks = engine_part(subject.removeprefix(PREFIX), *_tiny_models(), settings.device)
        yield violations.evaluate("engine", subject, {name: run_check(check) for name, check in checks})


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.engine.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="engine",
    question="Does the engine match Hugging Face on a tiny model, in every attention backend, prefill and decode?",
    subjects=lambda settings: [f"{PREFIX}{part}" for part in ENGINE_PARTS],
    run=run,
    runs_kernels=True,
    timeout_s=600,
    load_trial_checks=_trial_checks,
)
