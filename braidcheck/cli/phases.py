"""The phases of a gate run: correctness, a project's own GPU tests, speed; each is a pytest run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from braidcheck import environment
from braidcheck.cli.pytest_runner import Phase, ProjectTests, launch
from braidcheck.cli.results import CORRECTNESS, SPEED, TESTS
from braidcheck.errors import NotAvailable
from braidcheck.gates import GATES
from braidcheck.result import Run, Status, Verdict
from braidcheck.settings import Settings

MAX_CPU_WORKERS = 8  # each holds torch and a model in memory
MIN_GPU_MEMORY_GIB = 4.0  # per worker: its context takes 0.5, most cases below 2


def phases_of(
    settings: Settings, workers: int | None, expression: str, tests: Path | None = None, names: Sequence[str] = ()
) -> list[Phase]:
    """Correctness on all workers; on a GPU then the project's tests, and finally speed, alone."""
    count = workers or (_gpu_workers() if settings.lane == "gpu" else min(environment.cpus(), MAX_CPU_WORKERS))
    named = [gate for gate in GATES.values() if not names or gate.name in names]
    runnable = [gate for gate in named if gate.runs_kernels or not settings.kernels]
    # Longest first: one measurement of the whole model, then many short cases.
    gates = sorted(runnable, key=lambda gate: (not gate.in_one_worker, gate.name))
    if settings.lane != "gpu":
        return [Phase(CORRECTNESS, tuple(gate.name for gate in gates), settings, count, expression)]
    rest, timed = (tuple(gate.name for gate in gates if gate.timed is alone) for alone in (False, True))
    phases = [Phase(CORRECTNESS, rest, settings, count, expression)] if rest else []
    if tests and not settings.ops:
        phases.append(ProjectTests(TESTS, (str(tests.resolve()),), settings, count, expression))
    if timed and not settings.ops:
        phases.append(Phase(SPEED, timed, replace(settings, gpus=settings.gpus[:1]), 1, expression))
    return phases


def _gpu_workers() -> int:
    """Workers for all GPUs: one per core, since they mostly compile, limited by each GPU's memory."""
    gpus = environment.gpus()
    by_memory = min(int(gpu["memory_gib"] / MIN_GPU_MEMORY_GIB) for gpu in gpus)
    return len(gpus) * max(1, min(environment.cpus() // len(gpus), by_memory))


def run(phases: Sequence[Phase], start: Run) -> tuple[bool, Run]:
    """Run the phases one after another until one is interrupted; whether one was, and ``start`` with their Runs. Raises
    NotAvailable if the only phase broke; among several, a broken one becomes a verdict.
    """
    interrupted, runs = False, [replace(start, environment={**environment.fingerprint(), **start.environment})]
    seconds: dict[str, float] = {}
    for phase in phases:
        began = time.monotonic()
        try:
            interrupted, run = launch(phase)
        except NotAvailable as error:
            if len(phases) == 1:
                raise
            broken = Verdict("suite", phase.name, Status.ERROR, str(error), lane=phase.settings.lane)
            run = Run({}, (), (broken,))
        runs.append(run)
        seconds[phase.name] = round(time.monotonic() - began, 1)
        if interrupted:
            break
    merged = Run.merge(runs)
    suite = [name for one in runs for name in one.environment.get("suite", ())]  # of a shard
    more = {"phases": seconds} | ({"suite": suite} if suite else {})
    return interrupted, replace(merged, environment={**merged.environment, **more})
