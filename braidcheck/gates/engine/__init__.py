"""The engine gate: a tiny model of unusual sizes and constants next to HF, in every attention backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from braidcheck import models
from braidcheck.gates import violations
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.models.architecture import Architecture
from braidcheck.result import Verdict
from braidcheck.settings import Settings


def parts(architecture: Architecture) -> tuple[str, ...]:
    """The parts of the gate, which can run concurrently: each attention backend, the model around it, sampled tokens,
    whole answers, long prompts, many requests, the output projection, the distribution of sampled tokens, the cost of
    requests."""
    names = "model", "sampling", "generation", "prompts", "requests", "head", "draws", "counts"
    return (*architecture.attentions, *names)


def tiny_name(architecture: Architecture) -> str:
    """The tiny model's name in subjects; the first architecture's has no prefix, from before there were others."""
    return "tiny" if architecture.name == "qwen3" else f"tiny {architecture.name}"


@cache
def tiny_models(architecture: str) -> tuple[Any, Any]:
    """With tied and with untied output projection, made once per process."""
    from braidcheck.gates.engine import tiny

    module = models.find()[architecture]
    return tiny.make(module), tiny.make(module, tied=False)


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run the checks of each part of the engine."""
    from braidcheck.gates.engine.measure import engine_part
    from braidcheck.gates.under_test import run_check

    names = {tiny_name(architecture): name for name, architecture in models.find().items()}
    for subject in subjects:
        model, part = subject.split(": ")
        checks = engine_part(part, *tiny_models(names[model]), settings.device)
        yield violations.evaluate("engine", subject, {name: run_check(check) for name, check in checks})


def _subjects(settings: Settings) -> list[str]:
    return [f"{tiny_name(model)}: {part}" for model in models.find().values() for part in parts(model)]


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.engine.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="engine",
    question="Does the engine match Hugging Face on a tiny model, in every attention backend, prefill and decode?",
    failure_page="model",
    subjects=_subjects,
    run=run,
    runs_kernels=True,
    timeout_s=600,
    load_trial_checks=_trial_checks,
)
