"""The coherence gate's part in mutation testing: nano on a part of its golden."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from braidcheck.gates import coherence
from braidcheck.gates.coherence.blame import find_blame
from braidcheck.gates.coherence.evidence import Blame
from braidcheck.gates.coherence.measure import measure_coherence
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import module
from braidcheck.result import Status

coherence.checks()  # imported now: later ``sys.modules`` holds the mutated package


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """One check; the names of the gate's checks that fail go into ``trial.failing``."""
    yield "nano", partial(_violation, trial)


def _violation(trial: Trial) -> str | None:
    """The message of the first failing check."""
    evidence = measure_coherence(engine(trial), trial.fixtures.golden)
    trial.failing.extend(coherence.failing(evidence))
    verdicts = coherence.evaluate(evidence)
    return next((f"{v.subject}: {v.message}" for v in verdicts if v.status in (Status.FAIL, Status.ERROR)), None)


def localize(trial: Trial, engine: Any) -> Blame:
    """The suspect ops of a trial whose checks failed; ``engine`` is the mutated one, loaded again."""
    # A model that cannot run fails every check.
    return find_blame(engine, trial.fixtures.golden, trial.failing or ["kl"], coherence.failing)


def engine(trial: Trial) -> Any:
    """The mutated engine with nano's weights."""
    return module("models.engine").Engine.load(trial.fixtures.nano, trial.device)
