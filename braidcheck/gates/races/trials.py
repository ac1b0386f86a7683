"""The races gates in mutation testing: on a CPU from recorded accesses, on a GPU under delays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from braidcheck import models
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.races.delays import delayed_cases, delayed_steps, has_atomics
from braidcheck.gates.races.measure import case_race, race_cases
from braidcheck.gates.races.steps import step_checks


def op_trials(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of the trial's ops, the quickest case first; on a GPU of those whose programs meet in an atomic."""
    if trial.device == "cpu":
        rows = [(op, case) for op in trial.ops.values() for case in race_cases(op)]
        for op, case in sorted(rows, key=lambda row: trial.case_seconds.get(row[1].id, 0.0)):
            yield case.id, partial(case_race, op, case)
    else:
        for op in trial.ops.values():
            if has_atomics(op.name):
                yield from delayed_cases(op)


def step_trials(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of the decode steps of all architectures."""
    for architecture in models.find().values():
        yield from step_checks(architecture) if trial.device == "cpu" else delayed_steps(architecture)
