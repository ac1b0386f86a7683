"""``braidcheck gate``: chooses lane and phases, runs each as a pytest run, merges and reports."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from braidcheck import environment, gpu_claim
from braidcheck.ci.paired.worktrees import default_base, resolve
from braidcheck.cli import engine_gate
from braidcheck.cli.config import from_command_line
from braidcheck.cli.overview import check_gates, check_ops, project_ops
from braidcheck.cli.pytest_runner import Phase, ProjectTests, launch, record_golden
from braidcheck.config import FILE, TABLE
from braidcheck.errors import NotAvailable, UserError
from braidcheck.gates import GATES
from braidcheck.report import annotations as github_annotations
from braidcheck.report import formats, run_json, terminal
from braidcheck.report.formats import FORMATS, OUT_HELP
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule.budget import touched_since
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.shards import Shard, suite_of
from braidcheck.settings import ATTENTIONS, CORPUS, NANO, PRODUCTION, REFERENCE, Settings

CORRECTNESS, TESTS, SPEED = "correctness", "tests", "speed"
LOCK = ".gate-lock"  # beside what a gate writes
OF_KERNELS = ("op", "gates", "expression", "against", "kernels", "tests", "shard", "budget")  # of no engine
MAX_CPU_WORKERS = 8  # each holds torch and a model in memory
MIN_GPU_MEMORY_GIB = 4.0  # per worker: its context takes 0.5, most cases below 2


class Lane(StrEnum):
    """Where evidence comes from; ``auto`` takes the GPU if there is one."""

    auto = "auto"
    interpret = "interpret"
    gpu = "gpu"


Attention = StrEnum("Attention", [(name, name) for name in (*ATTENTIONS, REFERENCE)])  # type: ignore[misc]
DEFAULT_ATTENTION = Attention(PRODUCTION)


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
    minutes: Annotated[float, typer.Option(min=1, help="time budget of timing")] = engine_gate.MINUTES,
    kernels: Annotated[
        Path | None, typer.Option(help="check the kernels and the engine of the package in this folder")
    ] = None,
    tests: Annotated[Path | None, typer.Option(help="run this folder's GPU tests too (pytest -m gpu)")] = None,
    shard: Annotated[str, typer.Option(metavar="K/N", help="run part K of N; see: braidcheck merge")] = "",
    durations: Annotated[
        Path | None, typer.Option(help="take item durations from this run.json instead of the built-in table")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MINUTES",
            help="time budget: most informative checks first, the rest is skipped; default: no limit",
        ),
    ] = None,
    engine: engine_gate.EngineOption = "",
    engine_python: engine_gate.PythonOption = "",
    engine_timeout: engine_gate.TimeoutOption = engine_gate.TIMEOUT_S,
    engine_memory: engine_gate.MemoryOption = 0.0,
    model_name: engine_gate.NameOption = "",
    speed: engine_gate.SpeedOption = False,
    against_engine: engine_gate.AgainstOption = "",
    against_python: engine_gate.AgainstPythonOption = "",
) -> int:
    """Run the gates on the kernels and on the whole model, or on an engine of your own."""
    began = time.monotonic()
    if engine:
        if any(from_command_line(context, name) for name in OF_KERNELS):
            raise UserError("--engine runs its own gates, all of them: leave out options on ops, kernels and parts")
        limits = engine_python, engine_timeout, engine_memory, model_name
        timing = speed, against_engine, against_python, minutes
        asked = engine_gate.Asked(engine, *limits, model, revision, dataset, *timing)
        with _claimed(out):
            _clear(out)
            interrupted, found = engine_gate.run(asked)
            return report(found, out, interrupted)
    if speed or against_engine or against_python:
        raise UserError("--speed and --against-engine time an engine of your own: give --engine")
    part = str(Shard.parse(shard)) if shard else ""
    chosen = choose_lane(lane)
    op = op or project_ops()
    check_ops(op)
    check_gates(gates or [])
    gpus = tuple(gpu["id"] for gpu in environment.gpus()) if chosen == "gpu" else ()
    _check_expression(expression)
    base = resolve(against) if against else ""
    evaluated = _package_folder(kernels) if kernels else ""
    if tests and not tests.is_dir():
        raise UserError(f"--tests {tests}: no such folder; give the folder of the project's tests")
    known = durations.resolve() if durations else ""
    usual = _usual(out, Durations.read(known), known)
    held = _claimed(out)
    _clear(out)
    settings = Settings(
        chosen, str(out.resolve()), model, revision, dataset, str(attention), tuple(op), gpus, base, minutes,
        evaluated, part, str(known),
    )  # fmt: skip
    if budget:
        changed = touched_since(base or default_base())
        settings = replace(settings, budget=budget, deadline=time.time() + 60 * budget, changed=changed)
    if not settings.ops and (model, dataset) != (NANO, CORPUS) and not environment.why_no_triton():
        record_golden(settings)
    words = _words({
        "--op": settings.ops, "--gate": gates or (), "-k": (expression,), "--tests": (tests or "",), "--shard": (part,)
    })  # fmt: skip
    phases = [replace(phase, durations=usual) for phase in _phases(settings, workers, expression, tests, gates or ())]
    with gpu_claim.claim(environment.gpus() if chosen == "gpu" else ()):
        interrupted, run = _launch(phases, Run({"command": settings.command(*words)}, (), ()))
    if part:
        run = _of_shard(run, part, interrupted)
    if not run.expected and not run.verdicts and not interrupted:
        raise UserError(f"nothing matches {shlex.join(words)}; see: braidcheck list")
    run = replace(run, environment={**run.environment, "seconds": round(time.monotonic() - began, 1)})
    with held:
        return report(run, out, interrupted)


def _launch(phases: Sequence[Phase], start: Run) -> tuple[bool, Run]:
    """Run the phases one after the other until one is interrupted; whether one was, and ``start`` with their Runs.

    Raises NotAvailable where the only phase broke; of several, a broken one is a verdict.
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


def choose_lane(lane: Lane) -> str:
    """The lane to run. Raises NotAvailable where it cannot run here."""
    no_gpu, no_interpreter = environment.why_no_gpu(), environment.why_no_interpreter()
    if lane is Lane.gpu and no_gpu:
        raise NotAvailable(f"--lane gpu cannot run here: {no_gpu}; use --lane interpret, or see: braidcheck doctor")
    if lane is Lane.gpu or (lane is Lane.auto and not no_gpu):
        return "gpu"
    if no_interpreter and not environment.why_no_triton():  # without Triton the run itself says what it cannot evaluate
        raise NotAvailable(f"the interpret lane cannot run here: {no_interpreter}; see: braidcheck doctor")
    return "interpret"


def _check_expression(expression: str) -> None:
    """Refuse what pytest would refuse, before anything runs; pytest has no public way to ask."""
    from _pytest.mark import expression as grammar

    try:
        grammar.Expression.compile(expression or "all")
    except getattr(grammar, "ParseError", SyntaxError) as error:
        said = getattr(error, "msg", error)
        raise UserError(
            f"-k {expression!r} is not a valid pytest expression: {said}; try -k 'name and not other'"
        ) from None


def _package_folder(folder: Path) -> str:
    """The folder, resolved. Raises UserError where it holds no kernels."""
    if not (folder / environment.PACKAGE.name / "kernels").is_dir():
        raise UserError(f"--kernels {folder}: no {environment.PACKAGE.name}/kernels in it; give a checkout")
    return str(folder.resolve())


def _words(given: Mapping[str, Iterable[object]]) -> list[str]:
    """Options and their values as words of a command, without those that have none."""
    return [str(word) for option, values in given.items() for value in values if value for word in (option, value)]


def _usual(out: Path, known: Durations, given: Path | str) -> Durations:
    """What the time left is told by: what is ``known`` and, unless a Run was ``given``, the last Run in ``out``."""
    try:
        last = "" if given else (out / run_json.FILE).read_text(encoding="utf-8")
        return known.updated(Durations.of_run(Run.from_json(last))) if last else known
    except (OSError, ValueError, TypeError):  # none, or none that can be read: it is there to be replaced
        return known


def _of_shard(run: Run, part: str, interrupted: bool) -> Run:
    """The Run with what it is a part of. Raises UserError where there are fewer units of work than shards."""
    suite = run.environment.get("suite", [])
    if suite and not (run.expected or run.verdicts or interrupted):
        raise UserError(f"--shard {part}: no unit of work is left for it; make fewer shards of the {len(suite)} items")
    origin = {"shard": part} | ({"suite": suite_of(suite)} if suite else {})
    return replace(run, environment={**run.environment, **origin})


def _claimed(out: Path) -> IO[str]:
    """A file in ``out`` that is locked as long as it is open. Raises UserError where another gate has locked it, or
    where it is the folder of a project, whose tests lie where results would."""
    if (out / FILE).exists() or (out / ".git").exists():
        raise UserError(f"{out} is the folder of a project; give a folder for results alone, as --out or in {TABLE}")
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError:
        said = f"--out {str(out)!a} is no text in this locale; set LC_ALL=C.UTF-8 or give another"
        raise UserError(said) from None
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another gate writes to {out}; wait for it, or give another --out") from None
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None
    return file


def _clear(out: Path) -> None:
    """Nothing of an earlier run may be taken for this one's; what else lies in ``out`` stays."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FORMATS:
            (out / name).unlink(missing_ok=True)
        for name in (CORRECTNESS, TESTS, SPEED):
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None


def _phases(
    settings: Settings, workers: int | None, expression: str, tests: Path | None = None, names: Sequence[str] = ()
) -> list[Phase]:
    """Correctness on all workers; on a GPU, the project's tests after it, and last speed, alone."""
    count = workers or (_gpu_workers() if settings.lane == "gpu" else min(environment.cpus(), MAX_CPU_WORKERS))
    asked = [gate for gate in GATES.values() if not names or gate.name in names]
    wanted = [gate for gate in asked if gate.runs_kernels or not settings.kernels]
    # The longest first: one measurement of the whole model, then many short cases.
    gates = sorted(wanted, key=lambda gate: (not gate.in_one_worker, gate.name))
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
    """Workers for all GPUs: one per core, since they compile most of the time, as far as each GPU has memory for."""
    gpus = environment.gpus()
    by_memory = min(int(gpu["memory_gib"] / MIN_GPU_MEMORY_GIB) for gpu in gpus)
    return len(gpus) * max(1, min(environment.cpus() // len(gpus), by_memory))


def write(run: Run, out: Path, **renders: Callable[[Run], str]) -> None:
    """Write the files of ``run`` to ``out``, as ``formats.write`` does; on GitHub, print its annotations."""
    formats.write(run, out, **renders)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_annotations.lines(run):
            print(line)


def report(run: Run, out: Path, interrupted: bool = False) -> int:
    """Write the files of ``run`` to ``out`` and print it; its exit code. One that was interrupted says so."""
    if interrupted:
        run = replace(run, environment={**run.environment, "interrupted": True})
    write(run, out)
    terminal.show(run, out, interrupted)
    return 130 if interrupted else run.exit_code
