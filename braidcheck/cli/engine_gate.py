"""``braidcheck gate --engine``: the gates for a user's engine, which runs in its own process."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braidcheck import environment
from braidcheck.engines import specs
from braidcheck.errors import UserError, in_one_line
from braidcheck.gates import coherence, samplers, surfaces, throughput
from braidcheck.report.progress import Progress
from braidcheck.result import Run, Status, Verdict
from braidcheck.settings import CORPUS, NANO

if TYPE_CHECKING:
    from braidcheck.engines.client import Client

PANEL = "Your own engine"
MEMORY_SHARE = 0.8  # of what is free, for the engine
TIMEOUT_S = 120.0
MINUTES = 20.0  # of timing

EngineOption = Annotated[
    str, typer.Option(help="FILE.py:factory, package.module:factory or a server's URL", rich_help_panel=PANEL)
]
PythonOption = Annotated[str, typer.Option(help="the engine's Python; default: this one", rich_help_panel=PANEL)]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="for the factory and each request", rich_help_panel=PANEL)
]
MemoryOption = Annotated[
    float,
    typer.Option(min=0, metavar="GIB", help="memory limit; default: 80% of the free memory", rich_help_panel=PANEL),
]
SpeedOption = Annotated[bool, typer.Option("--speed", help="time the engine too", rich_help_panel=PANEL)]
AgainstOption = Annotated[
    str, typer.Option(help="compare its speed with this engine, or with an earlier run.json", rich_help_panel=PANEL)
]
AgainstPythonOption = Annotated[
    str, typer.Option(help="that engine's Python; default: that of --engine-python", rich_help_panel=PANEL)
]
NameOption = Annotated[str, typer.Option(help="the model's name on the server", rich_help_panel=PANEL)]


@dataclass(frozen=True)
class EngineRequest:
    """The request of the command line."""

    engine: str
    python: str
    timeout_s: float
    memory_gib: float
    model_name: str
    model: str
    revision: str | None
    dataset: str
    speed: bool = False
    against: str = ""
    against_python: str = ""
    minutes: float = MINUTES

    @property
    def timed(self) -> bool:
        """Whether the engine is timed."""
        return self.speed or bool(self.against)

    @property
    def base(self) -> EngineRequest | None:
        """The engine to compare its speed with; None without one, or for an earlier Run."""
        if not self.against or self.against.endswith(".json"):
            return None
        return replace(self, engine=self.against, python=self.against_python or self.python)

    def command(self) -> str:
        """The command that repeats this, without a password that the address may contain."""
        words = ["braidcheck", "gate", "--engine", specs.without_password(self.engine)]
        for option, value, default in (
            ("--engine-python", self.python, ""),
            ("--engine-timeout", f"{self.timeout_s:g}", f"{TIMEOUT_S:g}"),
            ("--engine-memory", f"{self.memory_gib:g}", "0"),
            ("--model-name", self.model_name, ""),
            ("--model", self.model, NANO),
            ("--revision", self.revision, None),
            ("--dataset", self.dataset, CORPUS),
            ("--against-engine", specs.without_password(self.against), ""),
            ("--against-python", self.against_python, ""),
            ("--minutes", f"{self.minutes:g}", f"{MINUTES:g}"),
        ):
            words += [option, str(value)] if value is not None and value != default else []
        return shlex.join([*words, "--speed"] if self.speed else words)


@dataclass
class _Results:
    """The results so far, which an interruption keeps."""

    expected: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    surfaces: Any = None
    samplers: Any = None
    throughput: Any = None


def run(asked: EngineRequest) -> tuple[bool, Run]:
    """Whether it was interrupted, and the Run. Raises UserError if the engine cannot be made."""
    began = time.monotonic()
    results, interrupted = _Results(), False
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(f"gating {specs.name_of(asked.engine)}"))
        try:
            engine = _measure(asked, results, progress, stack)
        except KeyboardInterrupt:
            interrupted, engine = True, {}
    if results.surfaces is not None:
        drawn = samplers.evaluate(results.samplers)
        found = surfaces.evaluate(results.surfaces, *map(_failed, (results.verdicts, drawn)))
        results.verdicts += drawn
        results.verdicts += found[:-1] if interrupted else found
    if results.throughput is not None:
        results.verdicts += throughput.evaluate(results.throughput)
    seconds = round(time.monotonic() - began, 1)
    told = {**environment.fingerprint(), "command": asked.command(), "engine": engine, "seconds": seconds}
    verdicts = tuple(replace(verdict, reproduce=asked.command()) for verdict in results.verdicts)
    return interrupted, Run(told, tuple(results.expected), verdicts)


def _measure(asked: EngineRequest, results: _Results, say: Progress, stack: ExitStack) -> dict[str, object]:
    """Fill ``results``, gate by gate; returns what the engine claims about itself."""
    import torch

    from braidcheck.gates.coherence.foreign import measure_foreign
    from braidcheck.gates.samplers.measure import NAMES, logits_and_noise, measure_samplers
    from braidcheck.gates.surfaces.cell import Surroundings
    from braidcheck.gates.surfaces.cells import all_cells
    from braidcheck.gates.surfaces.checkpoint import long_text, read_text, stop_tokens
    from braidcheck.gates.surfaces.measure import measure_surfaces
    from braidcheck.gates.surfaces.truth import texts_of
    from braidcheck.gates.throughput.measure import NAMES as SERIES
    from braidcheck.gates.throughput.measure import measure_throughput
    from braidcheck.golden.hf import load_reference
    from braidcheck.golden.resolve import resolve

    say("the golden")
    directory, golden = resolve(asked.model, asked.dataset, asked.revision, progress=say)
    vocab = golden.document(0).truth.full.shape[-1]
    start = partial(_start, asked, vocab=vocab)
    earlier = _earlier(asked)
    say("starting the engine")
    client = start(directory)
    stack.callback(client.close)
    base = _start(asked.base, directory, vocab) if asked.base else None  # report one that cannot be made at once
    if base:
        stack.callback(base.close)
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="braidcheck-engine-")))
    name, texts = specs.name_of(asked.engine), texts_of(golden, stop_tokens(directory))
    runs = [load_reference(directory, dtype, "cpu") for dtype in (torch.float32, torch.bfloat16)]
    cells = [cell for cell, _ in all_cells()]
    results.expected += _ids(name, golden.model, cells, NAMES, SERIES if asked.timed else ())
    longest = min(filter(None, (runs[0].max_tokens, client.claims["max_tokens"])))
    around = Surroundings(
        texts, longest, partial(long_text, runs[0].logits, texts),
        partial(read_text, [run.logits for run in runs], texts),
        partial(_with_stop, asked, start, directory, scratch),
    )  # fmt: skip
    subject = {"engine": name, "model": golden.model}
    results.surfaces, results.samplers = {**subject, "cells": [], "fresh": []}, {**subject, "draws": []}
    measure_surfaces(client, results.surfaces, around, say)
    results.verdicts += coherence.evaluate(measure_foreign(client, name, golden, say))
    logits = partial(logits_and_noise, runs)
    measure_samplers(client, texts, logits, results.samplers, say, longest, around.with_stop)
    if asked.timed:
        against = specs.name_of(asked.base.engine) if asked.base else asked.against
        results.throughput = {**subject, "against": against, "earlier": bool(earlier), "series": []}
        measure_throughput(client, base, earlier, texts, longest, results.throughput, 60 * asked.minutes, say)
    return {"name": name, "methods": sorted(client.methods), "claims": client.claims, "starts": client.starts}


def _with_stop(
    asked: EngineRequest, start: Callable[[Path], Client], directory: Path, scratch: Path, token: int
) -> Client:
    """The engine with a model whose stop token is ``token``. Raises NotServed for a server, which loads its own
    model."""
    from braidcheck.gates.surfaces.ask import NotServed
    from braidcheck.gates.surfaces.checkpoint import copy_with_stop

    if specs.is_address(asked.engine):
        raise NotServed("the server takes no token ids at which to stop")
    return start(copy_with_stop(directory, token, scratch / str(token)))


def _start(asked: EngineRequest, directory: Path, vocab: int) -> Client:
    """The engine, started. Raises UserError if it cannot be made."""
    from braidcheck.engines.client import Client
    from braidcheck.engines.process import EngineError, EngineProcess

    most = int(asked.memory_gib * 2**30 or MEMORY_SHARE * environment.available_bytes())
    launch = specs.parse(asked.engine, directory, asked.python, asked.timeout_s, most, asked.model_name)
    try:
        client = Client(partial(EngineProcess, launch), vocab)
    except EngineError as how:
        raise UserError(f"--engine {specs.without_password(asked.engine)} cannot be made: it {how}") from None
    if not client.methods & {"prefill", "generate"}:
        client.close()
        raise UserError(f"the engine {asked.engine} has neither prefill nor generate: see docs/engines.md")
    return client


def _failed(verdicts: Sequence[Verdict]) -> list[str]:
    """The failures, by the last part of their subject."""
    return [verdict.subject.rpartition(": ")[2] for verdict in verdicts if verdict.status == Status.FAIL]


def _earlier(asked: EngineRequest) -> dict[str, list[float]]:
    """The seconds of an earlier Run, by series. Raises UserError if it cannot be compared with."""
    if not asked.against or asked.base:
        return {}
    try:
        run = Run.from_json(Path(asked.against).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--against-engine {asked.against} cannot be read: {in_one_line(error)}") from None
    found, why = throughput.earlier_seconds(run, environment.fingerprint())
    if why:
        raise UserError(f"--against-engine {asked.against}: {why}")
    return found


def _ids(
    engine: str, model: str, cells: Sequence[str], draws: Sequence[str], series: Sequence[str]
) -> Iterator[str]:  # fmt: skip
    yield from (f"coherence/{engine} on {model}: {check}" for check in coherence.CHECKS)
    yield from (f"{surfaces.NAME}/{subject}" for subject in surfaces.subjects(engine, model, cells))
    yield from (f"{samplers.NAME}/{subject}" for subject in samplers.subjects(engine, model, draws))
    yield from (f"{throughput.NAME}/{subject}" for subject in throughput.subjects(engine, model, series))
