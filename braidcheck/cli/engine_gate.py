"""``braidcheck gate --engine``: the gates for a user's engine, which runs in its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braidcheck import environment, scratch
from braidcheck.autosave import Autosave
from braidcheck.cli.engine_request import EngineRequest
from braidcheck.engines import specs
from braidcheck.errors import UserError, in_one_line
from braidcheck.gates import coherence, samplers, surfaces, throughput
from braidcheck.report import run_json
from braidcheck.report.progress import Progress
from braidcheck.result import Run, Status, Verdict, write_atomically

if TYPE_CHECKING:
    from braidcheck.engines.client import Client

MEMORY_SHARE = 0.8  # of what is free, for the engine


@dataclass
class _Results:
    """The results so far, which an interruption keeps."""

    expected: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    surfaces: Any = None
    samplers: Any = None
    throughput: Any = None
    engine: dict[str, object] = field(default_factory=dict)  # its name, methods, claims and number of starts


def run(request: EngineRequest, out: Path) -> tuple[bool, Run]:
    """Whether it was interrupted, and the Run. The unfinished Run is written to ``out`` from time to time, in case this
    process is killed. Raises UserError if the engine cannot be made.
    """
    began = time.monotonic()
    results, interrupted = _Results(), False

    def save() -> None:
        write_atomically(out / run_json.PARTIAL, _run(request, results, began, interrupted=True).to_json())

    autosave = Autosave(save)
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(f"gating {specs.name_of(request.engine)}"))

        def say(text: str, done: int = 0, total: int = 0) -> None:
            progress(text, done, total)
            autosave.update()

        try:
            _measure(request, results, say, stack)
        except KeyboardInterrupt:
            interrupted = True
    run = _run(request, results, began, interrupted)
    (out / run_json.PARTIAL).unlink(missing_ok=True)
    return interrupted, run


def _run(request: EngineRequest, results: _Results, began: float, interrupted: bool) -> Run:
    """The Run of what was measured so far."""
    all_verdicts = list(results.verdicts)
    if results.surfaces is not None:
        drawn = samplers.evaluate(results.samplers)
        answered = surfaces.evaluate(results.surfaces, *map(_failed, (all_verdicts, drawn)))
        all_verdicts += [*drawn, *(answered[:-1] if interrupted else answered)]
    if results.throughput is not None:
        all_verdicts += throughput.evaluate(results.throughput)
    seconds = round(time.monotonic() - began, 1)
    told = {**environment.fingerprint(), "command": request.command(), "engine": results.engine, "seconds": seconds}
    told |= {"interrupted": True} if interrupted else {}
    verdicts = tuple(replace(verdict, reproduce=request.command()) for verdict in all_verdicts)
    return Run(told, tuple(results.expected), verdicts)


def _measure(request: EngineRequest, results: _Results, say: Callable[..., None], stack: ExitStack) -> None:
    """Fill ``results``, gate by gate."""
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
    directory, golden = resolve(request.model, request.dataset, request.revision, progress=say)
    vocab = golden.document(0).truth.full.shape[-1]
    start = partial(_start, request, vocab=vocab)
    earlier = _earlier(request)
    say("starting the engine")
    client = start(directory)
    stack.callback(client.close)
    base = _start(request.base, directory, vocab) if request.base else None  # report one that cannot be made at once
    if base:
        stack.callback(base.close)
    folder = stack.enter_context(scratch.Folder("engine"))
    name, texts = specs.name_of(request.engine), texts_of(golden, stop_tokens(directory))
    results.engine |= {"name": name, "methods": sorted(client.methods), "claims": client.claims}
    runs = [load_reference(directory, dtype, "cpu") for dtype in (torch.float32, torch.bfloat16)]
    cells = [cell for cell, _ in all_cells()]
    results.expected += _ids(name, golden.model, cells, NAMES, SERIES if request.timed else ())
    longest = min(filter(None, (runs[0].max_tokens, client.claims["max_tokens"])))
    around = Surroundings(
        texts, longest, partial(long_text, runs[0].logits, texts),
        partial(read_text, [run.logits for run in runs], texts),
        partial(_with_stop, request, start, directory, folder),
    )  # fmt: skip
    subject = {"engine": name, "model": golden.model}
    results.surfaces, results.samplers = {**subject, "cells": [], "fresh": []}, {**subject, "draws": []}
    measure_surfaces(client, results.surfaces, around, say)
    results.verdicts += coherence.evaluate(measure_foreign(client, name, golden, say))
    logits = partial(logits_and_noise, runs)
    measure_samplers(client, texts, logits, results.samplers, say, longest, around.with_stop)
    if request.timed:
        against = specs.name_of(request.base.engine) if request.base else request.against
        results.throughput = {**subject, "against": against, "earlier": bool(earlier), "series": []}
        measure_throughput(client, base, earlier, texts, longest, results.throughput, 60 * request.minutes, say)
    results.engine["starts"] = client.starts


def _with_stop(
    request: EngineRequest, start: Callable[[Path], Client], directory: Path, folder: Path, token: int
) -> Client:
    """The engine with a model whose stop token is ``token``. Raises NotServed for a server, which loads its own
    model."""
    from braidcheck.gates.surfaces.ask import NotServed
    from braidcheck.gates.surfaces.checkpoint import copy_with_stop

    if specs.is_address(request.engine):
        raise NotServed("the server takes no token ids at which to stop")
    return start(copy_with_stop(directory, token, folder / str(token)))


def _start(request: EngineRequest, directory: Path, vocab: int) -> Client:
    """The engine, started. Raises UserError if it cannot be made."""
    from braidcheck.engines.client import Client
    from braidcheck.engines.process import EngineError, EngineProcess

    most = int(request.memory_gib * 2**30 or MEMORY_SHARE * environment.available_bytes())
    launch = specs.parse(request.engine, directory, request.python, request.timeout_s, most, request.model_name)
    try:
        client = Client(partial(EngineProcess, launch), vocab)
    except EngineError as how:
        raise UserError(f"--engine {specs.without_password(request.engine)} cannot be made: it {how}") from None
    if not client.methods & {"prefill", "generate"}:
        client.close()
        raise UserError(f"the engine {request.engine} has neither prefill nor generate: see docs/engines.md")
    return client


def _failed(verdicts: Sequence[Verdict]) -> list[str]:
    """The failures, by the last part of their subject."""
    return [verdict.subject.rpartition(": ")[2] for verdict in verdicts if verdict.status == Status.FAIL]


def _earlier(request: EngineRequest) -> dict[str, list[float]]:
    """The seconds of an earlier Run, by series. Raises UserError if it cannot be compared with."""
    if not request.against or request.base:
        return {}
    try:
        run = Run.from_json(Path(request.against).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--against-engine {request.against} cannot be read: {in_one_line(error)}") from None
    seconds, why = throughput.earlier_seconds(run, environment.fingerprint())
    if why:
        raise UserError(f"--against-engine {request.against}: {why}")
    return seconds


def _ids(
    engine: str, model: str, cells: Sequence[str], draws: Sequence[str], series: Sequence[str]
) -> Iterator[str]:  # fmt: skip
    yield from (f"coherence/{engine} on {model}: {check}" for check in coherence.CHECKS)
    yield from (f"{surfaces.NAME}/{subject}" for subject in surfaces.subjects(engine, model, cells))
    yield from (f"{samplers.NAME}/{subject}" for subject in samplers.subjects(engine, model, draws))
    yield from (f"{throughput.NAME}/{subject}" for subject in throughput.subjects(engine, model, series))
