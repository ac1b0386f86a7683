"""``braidcheck soak-models``: whole models made of equivalent implementations, none of which the coherence gate may
fail."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from braidcheck import environment
from braidcheck.cli.gate import Lane, choose_lane
from braidcheck.cli.parallel import together
from braidcheck.errors import NotAvailable
from braidcheck.gates.soak.evidence import ModelRow
from braidcheck.report import models as report
from braidcheck.report.progress import Progress
from braidcheck.result import Run, json_by_line, write_atomically

FORMAT = 1
RUNS = 200


def soak_models(
    runs: Annotated[int, typer.Option(min=1, help="number of random models, with seeds 1, 2, ...")] = RUNS,
    lane: Annotated[Lane, typer.Option(help="where to run the kernels")] = Lane.auto,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one per core, at most 8")] = None,
    save: Annotated[Path | None, typer.Option(help="write the measurements to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> int:
    """Evaluate whole models with equivalent implementations in place of kernels. Exit code 1 if the coherence gate
    fails any."""
    chosen = choose_lane(lane)
    if reason := environment.why_no_triton():
        raise NotAvailable(reason)
    if chosen == "interpret":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which has not happened yet
    from braidcheck.gates.soak import evaluate_models

    began = time.monotonic()
    models = _measure(runs, chosen, workers or min(environment.cpus(), 8))
    run = Run({}, (), (evaluate_models(models, chosen),))
    body = {
        "format": FORMAT,
        "lane": chosen,
        "command": f"braidcheck soak-models --runs {runs} --lane {chosen}",
        "seconds": round(time.monotonic() - began),
        "environment": environment.fingerprint(),
        "verdict": json.loads(run.verdicts[0].to_json()),
    }
    text = json_by_line(body, "models", models, "soak of models 1")
    if save is not None:
        write_atomically(save, text)
    if as_json:
        sys.stdout.write(text)
    else:
        report.show(models, run.verdicts[0])
    return run.exit_code


def _measure(runs: int, lane: str, workers: int) -> list[ModelRow]:
    tasks = [(seed, lane) for seed in range(1, runs + 1)]
    models: list[ModelRow] = []
    with Progress("soak of whole models") as progress:
        for model in together(_run, tasks, workers):
            models.append(model)
            progress(f"seed {model['seed']} done", len(models), runs)
    return sorted(models, key=lambda model: model["seed"])


def _run(task: tuple[int, str]) -> ModelRow:
    from braidcheck.golden.resolve import resolve
    from braidcheck.mutants import models

    seed, lane = task
    checkpoint, golden = resolve()
    return models.measure(models.draw(seed, lane), checkpoint, golden, "cuda" if lane == "gpu" else "cpu")
