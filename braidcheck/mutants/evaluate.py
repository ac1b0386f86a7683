"""One trial: gates in the order cheapest likely killer first, on the package as it lies mutated in ``sys.modules``.

What is judged is mutated; cases, references, bounds and gates are those of the worker, which are not.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from braidcheck import kernels
from braidcheck.errors import in_one_line
from braidcheck.gates import accuracy, coherence
from braidcheck.gates.accuracy.measure import observe_op
from braidcheck.gates.coherence.blame import find_blame
from braidcheck.gates.coherence.measure import observe_coherence
from braidcheck.gates.edges.measure import edge_checks
from braidcheck.gates.engine.measure import engine_checks
from braidcheck.gates.fence.measure import Guard, fences
from braidcheck.gates.loader.measure import loader_checks
from braidcheck.gates.under_test import module, run_check, wrapper
from braidcheck.op import Case, Op
from braidcheck.result import Status

KILLING = (Status.FAIL, Status.ERROR)

Look = Callable[[], str | None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """What is made once, before any mutant: the tiny models with HF's answers, nano with a part of its golden."""

    tiny: Any = None
    untied: Any = None
    nano: Any = None
    golden: Any = None


def first_kill(
    task: Mapping[str, Any], device: str, order: Mapping[str, float], truth: Truth, say: Callable[[Row], None]
) -> Row:
    """The first gate and subject that catch the mutant, what was said, and the seconds spent on each gate.

    ``say`` is told the gate and subject before each look, lest the mutant ends this process.
    """
    seconds: dict[str, float] = {}
    failing: list[str] = []
    for gate in task["gates"]:
        began = time.perf_counter()
        found = None
        looks = _looks(gate, task, device, order, truth, failing)
        for subject, look in sorted(looks, key=lambda named: named[0] != task["first"]):
            say({"gate": gate, "subject": subject})
            if said := run_check(look):
                found = {"outcome": "killed", "gate": gate, "subject": subject, "said": said}
                if "out of memory" in said.lower():  # a full GPU catches no fault
                    found["outcome"] = "error"
                break
        seconds[gate] = round(time.perf_counter() - began, 2)
        if found and task["blame"]:
            found["blame"] = _blame(device, truth, failing)
        if found:
            return found | {"seconds": seconds}
    return {"outcome": "survived", "seconds": seconds}


def _looks(
    gate: str, task: Mapping[str, Any], device: str, order: Mapping[str, float], truth: Truth, failing: list[str]
) -> Iterator[tuple[str, Look]]:
    """Subject and look of everything that one gate asks; a look returns a complaint or nothing.

    The coherence gate's puts the checks that fail into ``failing``.
    """
    if gate == "accuracy":
        for op, case in _cases(task["ops"], device, order):
            look = partial(_accuracy, op, case, device)
            # Side by side, the largest cases of several workers would not fit on one GPU.
            yield case.id, partial(_in_turn, Path(task["overlay"]).parent, look) if case.large else look
    elif gate == "fence":
        asked_of = [(TRUE_OPS[name], *rest) for name in task["ops"] for rest in fences(TRUE_OPS[name], device)]
        for op, subject, case, guard in sorted(asked_of, key=lambda row: order.get(row[2].id, 0.0)):
            yield subject, partial(_accuracy, op, case, device, guard)
    elif gate == "edges":
        for name in task["ops"]:
            for subject, probe in edge_checks(TRUE_OPS[name], wrapper(name), device):
                yield f"{name}: {subject}", probe
    elif gate == "engine":
        yield from engine_checks(truth.tiny, truth.untied, device)
    elif gate == "loader":
        yield from loader_checks(truth.tiny, device)
    else:
        yield "nano", partial(_coherence, device, truth, failing)


def _cases(ops: Sequence[str], device: str, order: Mapping[str, float]) -> list[tuple[Op, Case]]:
    cases = [(TRUE_OPS[name], case) for name in ops for case in TRUE_OPS[name].cases]
    cases = [(op, case) for op, case in cases if device != "cpu" or not case.large]
    return sorted(cases, key=lambda pair: (pair[1].large, order.get(pair[1].id, 0.0)))


def _accuracy(op: Op, case: Case, device: str, guard: Guard = lambda call: call) -> str | None:
    return accuracy.complaint(observe_op(op, case, device, guard(wrapper(op.name))))


def _in_turn(folder: Path, look: Look) -> str | None:
    """``look``, while at most one other trial on this GPU does; the memory that it took is given back."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with (folder / f"turn {gpu} {os.getpid() % 2}").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return look()
        finally:
            torch.cuda.empty_cache()


def _coherence(device: str, truth: Truth, failing: list[str]) -> str | None:
    """The complaint of the first check that fails."""
    evidence = observe_coherence(_engine(device, truth), truth.golden)
    failing += coherence.failing(evidence)
    return next((f"{v.subject}: {v.sentence}" for v in coherence.evaluate(evidence) if v.status in KILLING), None)


def _blame(device: str, truth: Truth, failing: Sequence[str]) -> dict[str, Any]:
    """What is to blame for the checks that fail; no op, and the error, where the model cannot be loaded."""
    try:
        engine = _engine(device, truth)
    except Exception as error:  # then no op has run
        return {"ops": [], "layers": [], "error": in_one_line(error)}
    # A model that cannot be run fails whichever check is asked.
    return find_blame(engine, truth.golden, failing or ["kl"], coherence.failing)


def _engine(device: str, truth: Truth) -> Any:
    return module("models.qwen3.engine").Engine.load(truth.nano, device)


TRUE_OPS = kernels.find()
