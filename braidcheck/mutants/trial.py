"""One trial: gates in the order cheapest likely killer first, on the package as it lies mutated in ``sys.modules``.

What is judged is mutated; cases, references, bounds and gates are those of the worker, which are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from braidcheck import kernels
from braidcheck.evidence.model import observe_coherence
from braidcheck.evidence.op import observe_op
from braidcheck.gates import accuracy, coherence
from braidcheck.mutants.edges import edge_probes
from braidcheck.mutants.fence import fenced
from braidcheck.mutants.probes import engine_probes, loader_probes, module
from braidcheck.results import Status
from braidcheck.spec import Case, Op

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
    for gate in task["gates"]:
        began = time.perf_counter()
        found = None
        for subject, look in _looks(gate, task, device, order, truth):
            say({"gate": gate, "subject": subject})
            if said := _asked(look):
                found = {"outcome": "killed", "gate": gate, "subject": subject, "said": said}
                break
        seconds[gate] = round(time.perf_counter() - began, 2)
        if found:
            return found | {"seconds": seconds}
    return {"outcome": "survived", "seconds": seconds}


def _looks(
    gate: str, task: Mapping[str, Any], device: str, order: Mapping[str, float], truth: Truth
) -> Iterator[tuple[str, Look]]:
    """Subject and look of everything that one gate asks; a look returns a complaint or nothing."""
    if gate in ("accuracy", "fence"):
        for op, case in _cases(task["ops"], device, order):
            yield case.id, partial(_accuracy, op, case, device, gate == "fence")
    elif gate == "edges":
        for name in task["ops"]:
            for subject, probe in edge_probes(TRUE_OPS[name], _mutated(name), device):
                yield f"{name}: {subject}", probe
    elif gate == "engine":
        yield from engine_probes(truth.tiny, truth.untied, device)
    elif gate == "loader":
        yield from loader_probes(truth.tiny)
    else:
        yield "nano", partial(_coherence, device, truth)


def _asked(look: Look) -> str | None:
    try:
        return look()
    except Exception as error:  # a package that cannot even be asked
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _cases(ops: Sequence[str], device: str, order: Mapping[str, float]) -> list[tuple[Op, Case]]:
    cases = [(TRUE_OPS[name], case) for name in ops for case in TRUE_OPS[name].cases]
    cases = [(op, case) for op, case in cases if device != "cpu" or not case.large]
    return sorted(cases, key=lambda pair: (pair[1].large, order.get(pair[1].id, 0.0)))


def _accuracy(op: Op, case: Case, device: str, fence: bool) -> str | None:
    call = _mutated(op.name)
    verdict = accuracy.judge(observe_op(op, case, device, fenced(call) if fence else call))
    return verdict.sentence if verdict.status in KILLING else None


def _mutated(name: str) -> Callable[..., Any]:
    return getattr(module(f"kernels.{name}"), name)


def _coherence(device: str, truth: Truth) -> str | None:
    """The complaint of the first check that fails."""
    engine = module("qwen3.engine").Engine.load(truth.nano, device)
    verdicts = coherence.judge(observe_coherence(engine, truth.golden))
    return next((f"{v.subject}: {v.sentence}" for v in verdicts if v.status in KILLING), None)


TRUE_OPS = kernels.find()
