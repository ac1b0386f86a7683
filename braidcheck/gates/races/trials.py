"""The races gates in mutation testing: on a CPU from recorded accesses, on a GPU under delays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from braidcheck import models
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.races.delays import delayed_cases, delayed_steps, has_atomics
from braidcheck.gates.races.measure import case_race, race_cases
from braidcheck.gates.races.steps import step_checks


def op_trials(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The check of each of the trial's ops; on a GPU only of those whose programs share an atomic."""
    for name, op in trial.ops.items():
        if trial.device == "cpu":
            cases = sorted(race_cases(op), key=lambda case: trial.case_seconds.get(case.id, 0.0))
            yield name, partial(_first, [(case.id, partial(case_race, op, case)) for case in cases])
        elif has_atomics(name):
            yield name, partial(_first, list(delayed_cases(op)))


def _first(checks: Sequence[tuple[str, Check]]) -> str | None:
    """The first violation of an op's cases, the quickest case first."""
    violations = (f"{name}: {violation}" for name, check in checks if (violation := check()))
    return next(violations, None)


def step_trials(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of the decode steps of all architectures."""
    for architecture in models.find().values():
        yield from step_checks(architecture) if trial.device == "cpu" else delayed_steps(architecture)
