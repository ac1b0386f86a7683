"""The smallest fault that a gate detects: faults of growing size in one op, on its cases and in the model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.accuracy.evidence import Evidence
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.accuracy.outputs import plain
from braidcheck.gates.coherence.measure import measure_coherence
from braidcheck.gates.layers.measure import one_layer
from braidcheck.golden.store import Golden
from braidcheck.golden.subset import shortest
from braidcheck.models.engine import Engine
from braidcheck.models.ops import KERNELS, REFERENCES, OpTable
from braidcheck.mutants import model_calls
from braidcheck.mutants.evidence import SizeRow, Smallest
from braidcheck.mutants.injection import FAULTS, Fault, injected, written
from braidcheck.numerics.calls import copies, in_float64, run
from braidcheck.numerics.error import distance
from braidcheck.op import Case, Inputs, Op

TRIALS, MAX_MISSED = 20, 1  # 19 of 20 trials detected: 95%
RERUN_CASES = 3  # of each type, the cheapest, where the interpreter must run the kernel again for every trial
TOKENS, STEPS = 1000, 18  # of the golden: the minimum for the coherence gate
LAYER = 1  # K norms reach 44.5 there

Fails = Callable[[Any], bool]  # whether the gate fails on this evidence
Seen = Callable[[float, int], bool]  # whether a fault of this size with this seed is detected


def smallest(seen: Seen, sizes: Sequence[float]) -> Smallest:
    """The smallest size at which 95% of TRIALS seeded faults are detected, as plain data. Bisection with one seed finds
    where to begin, then size by size is tried with all seeds: larger faults are assumed to be easier to detect. A size
    is given up once more than MAX_MISSED are missed. Raises ValueError if the gate fails without any fault.
    """
    if seen(0.0, 0):
        raise ValueError("the gate fails without any fault: its sensitivity is undefined")
    counts: dict[float, tuple[int, int]] = {}

    def mostly(at: int) -> bool:
        if sizes[at] not in counts:
            counts[sizes[at]] = _count(seen, sizes[at])
        hits, tried = counts[sizes[at]]
        return tried - hits <= MAX_MISSED

    at = bisect_left(range(len(sizes)), True, key=lambda index: seen(sizes[index], 0))
    while at < len(sizes) and not mostly(at):
        at += 1
    while at and mostly(at - 1):
        at -= 1
    size = sizes[at] if at < len(sizes) else None
    return {
        "smallest": size,
        "least": sizes[0],
        "largest": sizes[-1],
        "trials": TRIALS,
        "counts": [[s, *counts[s]] for s in sorted(counts)],
    }


def _count(seen: Seen, size: float) -> tuple[int, int]:
    """How many faults of ``size`` are detected, and how many were tried."""
    hits = 0
    for seed in range(TRIALS):
        hits += seen(size, seed)
        if seed + 1 - hits > MAX_MISSED:
            return hits, seed + 1
    return hits, TRIALS


def of_accuracy(op: Op, device: str, fails: Fails) -> Iterator[SizeRow]:
    """Per storage type and kind of fault: a fault in every case of ``op``, seen if the gate fails on any of them."""
    for dtype in dict.fromkeys(case.dtype for case in op.cases):
        cases = [c for c in op.cases if c.dtype == dtype and not c.large and 0 not in c.axes.values()]
        looks = [CaseRecord.at(op, case, device) for case in sorted(cases, key=lambda case: op.cost(case).flops)]
        for fault in FAULTS:
            chosen = [look for look in looks if look.open_to(fault)]
            if fault.inputs is not None and device == "cpu":
                chosen = chosen[:RERUN_CASES]
            if chosen:
                seen = lambda size, seed: any(fails(look.evidence(fault, size, seed)) for look in chosen)  # noqa: B023, E731
                on = f"{dtype}, {len(chosen)} cases"
                yield {"gate": "accuracy", "op": op.name, "on": on, "fault": fault.name, **smallest(seen, fault.sizes)}


@dataclass(frozen=True)
class CaseRecord:
    """One case of an op with all that does not change from fault to fault: the evidence ``without`` a fault, the
    inputs, the kernel's outputs, the exact ones and their bounds."""

    op: Op
    without: Evidence
    given: Inputs
    got: tuple[Tensor, ...]
    exact: tuple[Tensor, ...]
    bounds: tuple[Tensor, ...]

    @classmethod
    def at(cls, op: Op, case: Case, device: str) -> CaseRecord:
        """Runs the kernel, the reference in float64 and the bound."""
        inputs = op.inputs(case, device)
        got = run(op, op.call, copies(inputs))
        without = measure_op(op, case, device)
        return cls(op, without, inputs, got, run(op, op.reference, in_float64(inputs)), op.bound(**inputs))

    def open_to(self, fault: Fault) -> bool:
        """Whether this case has the argument that the fault changes, and an output that can show it."""
        return fault.needs(self.given) and any(out.is_floating_point() for out in self.got)

    def evidence(self, fault: Fault, size: float, seed: int) -> Evidence:
        """The evidence of ``accuracy.measure.measure_op`` with the fault in the kernel."""
        generator = torch.Generator().manual_seed(seed)
        if fault.inputs is not None:
            inputs = {**copies(self.given), **fault.inputs(self.given, size, generator)}
            got = run(self.op, self.op.call, copies(inputs))
        else:
            assert fault.outputs  # a fault has one side or the other
            got = tuple(fault.outputs(self.got, written(self.op, self.given, self.got), size, generator))
        rows = zip(self.without["outputs"], got, self.exact, self.bounds, strict=True)
        return self.without | {"outputs": [{**row, **plain(distance(*parts))} for row, *parts in rows]}


def of_coherence(op: Op, checkpoint: Path, golden: Golden, device: str, fails: Fails) -> Iterator[SizeRow]:
    """Per kind of fault: the fault in ``op`` in all layers of the model, on a part of ``golden``.

    The other ops are kernels on a GPU and references on a CPU, where that is faster. An op that no document takes is
    evaluated by greedy answers, all others by documents alone; the whole gate, on more text and more parts, sees no
    less. Nothing of an op that the model does not take.
    """
    attention = model_calls.attention_for(op.name)
    if attention is None:
        return
    engine = Engine.load(checkpoint, device, attention=attention)
    decoding = op.name not in model_calls.of(attention).document
    text = shortest(golden, 0 if decoding else TOKENS, int(decoding), STEPS)
    parts = ("continuations",) if decoding else ("documents",)
    sound = REFERENCES if device == "cpu" else KERNELS
    on = f"{golden.model}, {'references' if device == 'cpu' else 'kernels'}"
    for fault in _faults(op):

        def seen(size: float, seed: int, fault: Fault = fault) -> bool:
            faulty = engine.with_ops(_faulty(sound, op, fault, size, seed))
            return fails(measure_coherence(faulty, text, parts=parts))

        yield {"gate": "coherence", "op": op.name, "on": on, "fault": fault.name, **smallest(seen, fault.sizes)}


def of_layers(op: Op, device: str, fails: Fails, **options: Any) -> Iterator[SizeRow]:
    """Per kind of fault: the fault in ``op`` in one layer of the synthetic 0.6B; ``options`` as of ``one_layer``.

    Nothing of an op that no layer takes.
    """
    attention = model_calls.attention_for(op.name)
    if attention is None or op.name not in model_calls.of(attention).layers:
        return
    model, measure = one_layer(device, LAYER, attention=attention, **options)
    sound = REFERENCES if device == "cpu" else KERNELS
    for fault in _faults(op):

        def seen(size: float, seed: int, fault: Fault = fault) -> bool:
            return fails(measure(model.with_ops(_faulty(sound, op, fault, size, seed))))

        detected_at = smallest(seen, fault.sizes)
        yield {"gate": "layers", "op": op.name, "on": f"layer {LAYER}", "fault": fault.name, **detected_at}


def _faulty(sound: OpTable, op: Op, fault: Fault, size: float, seed: int) -> OpTable:
    """``sound`` with the fault in one op."""
    return sound.replace(**{op.name: injected(op, getattr(sound, op.name), fault, size, seed)})


def _faults(op: Op) -> list[Fault]:
    """The kinds of fault that a call of ``op`` can have."""
    inputs = op.inputs(op.cases[0], "cpu")
    return [fault for fault in FAULTS if fault.needs(inputs)]
