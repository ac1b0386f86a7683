"""Fault localization: which op makes the model fail, and in which layers. Replaces kernels by references, one op at a
time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from braidcheck import kernels
from braidcheck.errors import in_one_line
from braidcheck.gates.coherence.evidence import Blame, Evidence
from braidcheck.gates.coherence.measure import measure_coherence
from braidcheck.golden.store import Golden
from braidcheck.golden.subset import Subset, shortest

Layers = Collection[int | None]  # None: outside of all decoder layers
Kept = Mapping[str, Layers]  # the layers where each op's kernel is kept; elsewhere its reference replaces it
Failing = Callable[[Evidence], Collection[str]]

TOKENS, ANSWERS, STEPS = 1000, 1, 18  # of the golden, tried first: the minimum for a verdict
PART_OF = {"causality": "causality", "continuation": "continuations", "decode": "continuations"}
PART_OF |= {"repetition": "continuations"}


def find_blame(
    engine: Any,
    golden: Golden,
    checks: Collection[str],
    failing: Failing,
    say: Callable[[str], None] = lambda text: None,
) -> Blame:
    """What is to blame for the failure of these coherence checks, as plain data.

    ``failing(evidence)`` names the checks that fail. Keys: ``ops`` at fault (none: the model also fails with every op
    at its reference); ``layers``, the first and the last at fault, none for an op outside of them; ``kl`` to HF float32
    as it is and ``kl_repaired`` with the references there, in nats, where documents were read; ``repaired``, whether
    these checks then pass; ``error``, the first that a run of the model raised, in one line, where one did; ``looks``,
    how often the model was run, at most twice the ops and four times the layers' logarithm. A short part of the golden
    is looked at first, all of it where that part shows no failure; empty if no failure is seen again, or a kernel
    broke the GPU's context.
    """
    for text in (shortest(golden, TOKENS, ANSWERS, STEPS), golden):
        search = _Search(engine, text, checks, failing, say)
        try:
            evidence = search.see(search.kernels())
            if search.failed(evidence):
                return search.result(evidence)
        except RuntimeError as error:  # errors of CUDA after which this process must stop searching
            say(f"the search for the op to blame ended: {error}")
            return {}
    return {}


def find_suspects(fails: Callable[[Kept], bool], ops: Sequence[str], layers: int) -> tuple[list[str], list[int]]:
    """The ops at fault and the layers where they are, given whether the model fails with some kernels kept.

    No op where it fails with references alone. An op is at fault if the model fails with only its kernel; if there is
    no such op, the suspects are those whose reference repairs it.
    """
    places: Layers = (None, *range(layers))
    if fails({}):
        return [], []
    suspects = [op for op in ops if fails({op: places})]
    if not suspects:
        return [op for op in ops if not fails({o: places for o in ops if o != op})], list(range(layers))
    return suspects, _span(lambda span: fails(dict.fromkeys(suspects, span)), layers)


def _span(fails: Callable[[Layers], bool], layers: int) -> list[int]:
    """From the first layer to the last at fault; all where it takes several together, none where it lies outside."""
    if fails((None,)):
        return []
    first = _least(lambda end: fails(range(end + 1)), layers)
    last = layers - 1 - _least(lambda left: fails(range(layers - 1 - left, layers)), layers)
    alone = first < last or (first == last and fails((first,)))
    return list(range(first, last + 1) if alone else range(layers))


def _least(holds: Callable[[int], bool], count: int) -> int:
    """The smallest number below ``count`` for which ``holds``, by bisection; it holds for the last and is monotonic."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


class _Search:
    """Runs the model on one text with some kernels kept."""

    def __init__(
        self,
        engine: Any,
        golden: Golden | Subset,
        checks: Collection[str],
        failing: Failing,
        say: Callable[[str], None],
    ) -> None:
        self.engine, self.golden, self.checks, self.failing, self.say = engine, golden, set(checks), failing, say
        self.parts = {PART_OF.get(check, "documents") for check in checks}
        self.references = {name: op.reference for name, op in kernels.find().items()}
        self.called = list(self.references)
        self.looks = 0
        self.error = ""  # the first that a run of the model ended with

    def kernels(self, but: Collection[str] = (), layers: Layers = ()) -> Kept:
        """All kernels, except those of the ops ``but`` in ``layers``."""
        places = {None, *range(len(self.engine.model.layer_ops))}
        return {op: places - set(layers) if op in but else places for op in self.called}

    def see(self, kept: Kept) -> Evidence:
        """The evidence with some kernels kept; empty if the model cannot be run."""
        self.looks += 1
        self.say(f"looking for the op to blame, attempt {self.looks}")
        calls: Counter[str] = Counter()
        try:
            evidence = measure_coherence(self._engine(kept, calls), self.golden, parts=self.parts)
        except Exception as error:  # a kernel that raises is at fault like a wrong one
            self.error = self.error or in_one_line(error)
            self.say(f"the model cannot be run: {in_one_line(error)}")
            if self.engine.model.device.type == "cuda":
                torch.cuda.synchronize()  # raises where the GPU's context broke, and nothing can be seen any more
            return {}
        self.called = list(calls)
        return evidence

    def _engine(self, kept: Kept, calls: Counter[str]) -> Any:
        """The engine with some kernels kept, which counts its calls of each op."""
        model = self.engine.model

        def table(kernels: Any, place: int | None) -> Any:
            mixed = kernels.map(lambda op, own: own if place in kept.get(op, ()) else self.references.get(op, own))
            return mixed.counted(calls)

        layer_ops = [table(ops, index) for index, ops in enumerate(model.layer_ops)]
        return self.engine.with_ops(table(model.ops, None), layer_ops)

    def failed(self, evidence: Evidence) -> bool:
        return not evidence or bool(self.checks & set(self.failing(evidence)))

    def result(self, before: Evidence) -> Blame:
        layers = len(self.engine.model.layer_ops)
        ops, suspect_layers = find_suspects(lambda kept: self.failed(self.see(kept)), self.called, layers)
        blame: Blame = {"ops": ops, "layers": suspect_layers[:1] + suspect_layers[-1:], "kl": _kl(before)}
        if ops:
            after = self.see(self.kernels(ops, suspect_layers or [None]))
            blame |= {"kl_repaired": _kl(after), "repaired": not self.failed(after)}
        if self.error:
            blame["error"] = self.error
        return blame | {"looks": self.looks}


def _kl(evidence: Evidence) -> float | None:
    """Mean KL to HF float32 in nats per token; None if it is not finite or no document was read."""
    values = [value for row in evidence.get("documents", ()) for value in row["kl"]]
    return float(np.mean(values)) if values and None not in values else None
