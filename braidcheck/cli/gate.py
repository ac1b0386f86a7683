"""``braidcheck gate``: chooses lane and phases, runs each phase with pytest, merges and reports."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braidcheck import environment, external_ops, gpu_claim
from braidcheck.ci.paired.worktrees import default_base, resolve
from braidcheck.cli import engine_gate, engine_request, phases
from braidcheck.cli.config import from_command_line
from braidcheck.cli.overview import check_gates, check_ops, project_ops
from braidcheck.cli.pytest_runner import Phase, record_golden
from braidcheck.cli.results import claimed, clear, report
from braidcheck.errors import NotAvailable, UserError
from braidcheck.report import run_json
from braidcheck.report.formats import OUT_HELP
from braidcheck.result import Run
from braidcheck.schedule.budget import touched_since
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.shards import Shard, suite_of
from braidcheck.settings import ATTENTIONS, CORPUS, NANO, PRODUCTION, REFERENCE, Settings

OF_KERNELS = ("op", "gates", "expression", "against", "kernels", "tests", "shard", "budget")  # of no engine
NO_OPS = "no ops are configured here, so this gates braidcheck's own kernels and model; for yours, run: braidcheck init"


class Lane(StrEnum):
    """Where kernels run; ``auto`` takes the GPU if there is one."""

    auto = "auto"
    interpret = "interpret"
    gpu = "gpu"


Attention = StrEnum("Attention", [(name, name) for name in (*ATTENTIONS, REFERENCE)])  # type: ignore[misc]
DEFAULT_ATTENTION = Attention(PRODUCTION)


KernelsOption = Annotated[
    Path | None, typer.Option(help="test the kernels and the engine of the package in this folder")
]
TestsOption = Annotated[Path | None, typer.Option(help="run this folder's GPU tests too (pytest -m gpu)")]
ShardOption = Annotated[str, typer.Option(metavar="K/N", help="run part K of N; see: braidcheck merge")]
DurationsOption = Annotated[
    Path | None, typer.Option(help="take item durations from this run.json instead of the built-in table")
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="MINUTES",
        help="time budget: the most informative checks run first, the rest are skipped; default: no limit",
    ),
]


def gate(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="nano, a checkpoint directory or a hub id")] = NANO,
    revision: Annotated[str | None, typer.Option(help="revision of a hub id")] = None,
    dataset: Annotated[str, typer.Option(help="corpus, wikitext or a path")] = CORPUS,
    lane: Annotated[Lane, typer.Option(help="where to run the kernels")] = Lane.auto,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("braidcheck-out"),
    op: Annotated[list[str] | None, typer.Option(help="check only this op; may be repeated")] = None,
    gates: Annotated[list[str] | None, typer.Option("--gate", help="run only this gate; may be repeated")] = None,
    expression: Annotated[str, typer.Option("-k", help="run only what matches, as in pytest")] = "",
    attention: Annotated[Attention, typer.Option(help="the model's attention backend")] = DEFAULT_ATTENTION,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one per core")] = None,
    against: Annotated[str, typer.Option(help="time kernels against this commit; default: merge-base")] = "",
    minutes: Annotated[float, typer.Option(min=1, help="time budget of timing")] = engine_request.MINUTES,
    kernels: KernelsOption = None,
    tests: TestsOption = None,
    shard: ShardOption = "",
    durations: DurationsOption = None,
    budget: BudgetOption = None,
    engine: engine_request.EngineOption = "",
    engine_python: engine_request.PythonOption = "",
    engine_timeout: engine_request.TimeoutOption = engine_request.TIMEOUT_S,
    engine_memory: engine_request.MemoryOption = 0.0,
    model_name: engine_request.NameOption = "",
    speed: engine_request.SpeedOption = False,
    against_engine: engine_request.AgainstOption = "",
    against_python: engine_request.AgainstPythonOption = "",
) -> int:
    """Run the gates on the kernels and on the whole model, or on your own engine."""
    began = time.monotonic()
    if engine:
        limits = engine_python, engine_timeout, engine_memory, model_name
        timing = speed, against_engine, against_python, minutes
        return _gate_engine(
            context, engine_request.EngineRequest(engine, *limits, model, revision, dataset, *timing), out
        )
    if speed or against_engine or against_python:
        raise UserError("--speed and --against-engine time your own engine: give --engine")
    chosen, ops = choose_lane(lane), tuple(op or project_ops())
    _check(ops, gates or [], expression, tests)
    gpus = tuple(gpu["id"] for gpu in environment.gpus()) if chosen == "gpu" else ()
    base, part = resolve(against) if against else "", str(Shard.parse(shard)) if shard else ""
    package, known = _package_folder(kernels), str(durations.resolve()) if durations else ""
    folder, backend = str(out.resolve()), str(attention)
    settings = Settings(
        chosen, folder, model, revision, dataset, backend, ops, gpus, base, minutes, package, part, known
    )
    settings = _with_budget(settings, budget)
    chosen_phases = phases.phases_of(settings, workers, expression, tests, gates or ())
    named = {"--op": ops, "--gate": gates or (), "-k": (expression,), "--tests": (tests or "",), "--shard": (part,)}
    return _gate_kernels(settings, chosen_phases, _words(named), out, began)


def _gate_engine(context: typer.Context, request: engine_request.EngineRequest, out: Path) -> int:
    if any(from_command_line(context, name) for name in OF_KERNELS):
        raise UserError("--engine runs all gates of an engine: omit options for ops, kernels and parts")
    with claimed(out):
        clear(out)
        interrupted, run = engine_gate.run(request, out)
        return report(run, out, interrupted)


def _gate_kernels(
    settings: Settings, chosen_phases: Sequence[Phase], words: Sequence[str], out: Path, began: float
) -> int:
    """Run the phases and report. ``words`` are the options that select items, ``began`` is the command's start."""
    usual = _usual(out, Durations.read(settings.durations), settings.durations)
    with claimed(out):
        clear(out)
        embedded = (settings.model, settings.dataset) == (NANO, CORPUS)
        if not settings.ops and not embedded and not environment.why_no_triton():
            record_golden(settings)
        with gpu_claim.claim(environment.gpus() if settings.lane == "gpu" else ()):
            timed = [replace(phase, durations=usual) for phase in chosen_phases]
            interrupted, run = phases.run(timed, Run({"command": settings.command(*words)}, (), ()))
        if settings.shard:
            run = _of_shard(run, settings.shard, interrupted)
        if not run.expected and not run.verdicts and not interrupted:
            raise UserError(f"nothing matches {shlex.join(words)}; see: braidcheck list")
        run = replace(run, environment={**run.environment, "seconds": round(time.monotonic() - began, 1)})
        code = report(run, out, interrupted)
    of_ours = Path.cwd().is_relative_to(environment.PACKAGE.parent)
    if not (settings.ops or settings.kernels or external_ops.declared() or of_ours):
        print(NO_OPS, file=sys.stderr)
    return code


def _check(ops: Sequence[str], gates: Sequence[str], expression: str, tests: Path | None) -> None:
    """Refuse names that match nothing, before anything runs."""
    check_ops(ops)
    check_gates(gates)
    _check_expression(expression)
    if tests and not tests.is_dir():
        raise UserError(f"--tests {tests}: no such folder; give the folder of the project's tests")


def _with_budget(settings: Settings, minutes: float | None) -> Settings:
    """The settings with the end of the time budget, which starts now, and the changed ops, which run first."""
    if not minutes:
        return settings
    changed = touched_since(settings.against or default_base())
    return replace(settings, budget=minutes, deadline=time.time() + 60 * minutes, changed=changed)


def choose_lane(lane: Lane) -> str:
    """The lane to run. Raises NotAvailable if it cannot run here."""
    no_gpu, no_interpreter = environment.why_no_gpu(), environment.why_no_interpreter()
    if lane is Lane.gpu and no_gpu:
        raise NotAvailable(f"--lane gpu cannot run here: {no_gpu}; use --lane interpret, or see: braidcheck doctor")
    if lane is Lane.gpu or (lane is Lane.auto and not no_gpu):
        return "gpu"
    if no_interpreter and not environment.why_no_triton():  # without Triton the run reports what it cannot evaluate
        raise NotAvailable(f"the interpret lane cannot run here: {no_interpreter}; see: braidcheck doctor")
    return "interpret"


def _check_expression(expression: str) -> None:
    """Refuse an expression that pytest would refuse, before anything runs; pytest has no public API for this."""
    from _pytest.mark import expression as grammar

    try:
        grammar.Expression.compile(expression or "all")
    except getattr(grammar, "ParseError", SyntaxError) as error:
        message = getattr(error, "msg", error)
        raise UserError(
            f"-k {expression!r} is not a valid pytest expression: {message}; try -k 'name and not other'"
        ) from None


def _package_folder(folder: Path | None) -> str:
    """The folder, resolved; empty for none. Raises UserError if it has no kernels."""
    if folder is None:
        return ""
    if not (folder / environment.PACKAGE.name / "kernels").is_dir():
        raise UserError(f"--kernels {folder}: no {environment.PACKAGE.name}/kernels in it; give a checkout")
    return str(folder.resolve())


def _words(options: Mapping[str, Iterable[object]]) -> list[str]:
    """Options and their values as words of a command, without unset ones."""
    return [str(word) for option, values in options.items() for value in values if value for word in (option, value)]


def _usual(out: Path, known: Durations, durations: Path | str) -> Durations:
    """The durations for estimating the time left: those ``known`` and, if ``durations`` names no Run, those of the
    last Run in ``out``."""
    try:
        last = "" if durations else (out / run_json.FILE).read_text(encoding="utf-8")
        return known.updated(Durations.of_run(Run.from_json(last))) if last else known
    except (OSError, ValueError, TypeError):  # missing or unreadable: it will be replaced anyway
        return known


def _of_shard(run: Run, part: str, interrupted: bool) -> Run:
    """The Run marked as a part of a sharded run. Raises UserError if there are fewer units of work than shards."""
    suite = run.environment.get("suite", [])
    if suite and not (run.expected or run.verdicts or interrupted):
        raise UserError(f"--shard {part}: more shards than units of work; use fewer for {len(suite)} items")
    origin = {"shard": part} | ({"suite": suite_of(suite)} if suite else {})
    return replace(run, environment={**run.environment, **origin})
