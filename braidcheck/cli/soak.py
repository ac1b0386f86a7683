"""``braidcheck soak``: kernels, the PyTorch baseline and equivalent implementations under many fresh inputs."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from braidcheck.cli import bounds, gate
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.cli.parallel import together
from braidcheck.errors import UserError
from braidcheck.gates.soak.evidence import Evidence
from braidcheck.op import Case
from braidcheck.report import terminal
from braidcheck.report.progress import Progress
from braidcheck.result import Run

PAIRS = 1000
Task = tuple[str, list[Case], str]  # op, its pairs, device


def soak(
    op: Annotated[list[str] | None, typer.Option(help="run only this op; may be repeated")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="pairs of a seed and a case per op")] = PAIRS,
    lane: Annotated[gate.Lane, typer.Option(help="where to run the kernels")] = gate.Lane.auto,
    workers: Annotated[int, typer.Option(min=1, help="processes, which share the GPU if there is one")] = 1,
    sizes: Annotated[
        int, typer.Option(min=0, metavar="N", help="run the sizes gate instead, with N random sizes per sweep")
    ] = 0,
    seed: Annotated[int, typer.Option(help="seed of the random sizes")] = 0,
    save: Annotated[bool, typer.Option("--save", help="publish for: braidcheck list --bounds")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> int:
    """Run kernels, the PyTorch baseline and equivalent implementations on fresh inputs. Exit code 1 if any error ratio
    exceeds 0.5."""
    chosen = gate.choose_lane(lane)
    if chosen == "interpret":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which has not happened yet
    check_ops(op or [])
    from braidcheck.gates.soak import evaluate

    names = list(dict.fromkeys(op or find_ops()))
    if sizes and save:
        raise UserError("--sizes measures no error ratio to publish: omit --save")
    if sizes:
        return _soak_sizes(names, sizes, seed, chosen, as_json)
    seen = _measure(names, pairs, chosen, workers)
    run = Run({}, (), tuple(verdict for one in seen for verdict in evaluate(one, chosen)))
    if save:
        chosen_ops = "".join(f" --op {name}" for name in op or ())
        bounds.publish(chosen, seen, f"braidcheck soak --pairs {pairs} --lane {chosen}{chosen_ops} --save")
    _say(run, seen, chosen, as_json)
    return run.exit_code


def _soak_sizes(names: Iterable[str], more: int, seed: int, lane: str, as_json: bool) -> int:
    """Run the kernels along their sweeps, with ``more`` random sizes of each, drawn by ``seed``."""
    from braidcheck.gates.sizes import evaluate
    from braidcheck.gates.sizes.measure import measure_sizes

    device = "cuda" if lane == "gpu" else "cpu"
    ops = [find_ops()[name] for name in names]
    seen = [(op.name, measure_sizes(op, op.call, device, seed, more)) for op in ops if op.sweeps]
    run = Run({}, (), tuple(evaluate(evidence, name, lane) for name, evidence in seen))
    if as_json:
        print(run.to_json())
    else:
        terminal.show(run)
    return run.exit_code


def _measure(names: Iterable[str], pairs: int, lane: str, workers: int) -> list[Evidence]:
    """One measurement per op, merged from those of its cases; in several processes if there are several ``workers``."""
    from braidcheck.gates.soak.measure import merge

    tasks = [task for name in names for task in _tasks(name, pairs, lane)]
    evidence: dict[str, list[Evidence]] = defaultdict(list)
    with Progress("soak") as progress:
        made = together(_run, tasks, workers) if workers > 1 else _one_by_one(tasks, progress)
        for done, seen in enumerate(made, 1):
            evidence[seen["op"]].append(seen)
            progress(f"{seen['op']} done", done, len(tasks))
    return [merge(evidence[name]) for name in names]


def _tasks(name: str, pairs: int, lane: str) -> Iterator[Task]:
    """The pairs of one op by case, so that each process compiles kernels of its own."""
    from braidcheck.gates.soak import measure as evidence

    by_case: dict[str, list[Case]] = defaultdict(list)
    for case in evidence.pairs(find_ops()[name], pairs, large=lane == "gpu"):
        by_case[replace(case, seed=0).id].append(case)
    for cases in by_case.values():
        yield name, cases, "cuda" if lane == "gpu" else "cpu"


def _one_by_one(tasks: list[Task], progress: Progress) -> Iterator[Evidence]:
    for done, task in enumerate(tasks):
        yield _run(task, partial(progress, done=done, total=len(tasks)))


def _run(task: Task, progress: Callable[[str], None] = lambda text: None) -> Evidence:
    import torch

    from braidcheck.gates.soak.measure import measure_soak
    from braidcheck.mutants import equivalents

    name, cases, device = task
    seen = measure_soak(find_ops()[name], cases, equivalents.find(name), device, progress)
    if device == "cuda":
        torch.cuda.empty_cache()  # the other workers share this GPU's memory
    return seen


def _say(run: Run, seen: list[Evidence], lane: str, as_json: bool) -> None:
    if as_json:
        body = json.loads(run.to_json())
        kept = {key: body[key] for key in ("format", "status", "exit_code", "verdicts")}
        print(json.dumps({"lane": lane, **kept}, indent=1))
        return
    bounds.show({lane: {one["op"]: one for one in seen}})
    terminal.show(run)
