"""The static gate in mutation testing: the mutated package is compiled in a process of its own, on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from braidcheck.gates import static
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import module
from braidcheck.result import Status


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The check of each of the trial's ops; code that the mutant leaves unchanged comes from the user's compile
    cache."""
    for op in trial.ops:
        yield op, partial(_violation, op)


def _violation(op: str) -> str | None:
    from braidcheck.static import baseline
    from braidcheck.static.measure import measure_static

    evidence = measure_static((op,), tree=Path(module("op").__file__).parents[1], children=1)
    accepted, excused = baseline.read(evidence["triton"]), baseline.excused(evidence["triton"])
    verdicts = static.evaluate(evidence, accepted, op, excused=excused)
    return next((verdict.message for verdict in verdicts if verdict.status == Status.FAIL), None)
