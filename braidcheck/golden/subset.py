"""A golden reduced to a few documents, so that the coherence gate is affordable in the interpreter."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from braidcheck.golden.store import Continuation, Golden, GoldenDocument, Probe


@dataclass(frozen=True)
class Subset:
    """The documents ``numbers`` of ``golden``, called 0, 1, ...; of the greedy answers the first ``steps`` tokens."""

    golden: Golden
    numbers: Sequence[int]
    answers: int
    steps: int

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.numbers)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.golden.model

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The whole golden's."""
        return self.golden.manifest

    @property
    def typical_noise(self) -> float:
        """The whole golden's."""
        return self.golden.typical_noise

    def document(self, number: int) -> GoldenDocument:
        """Document ``number`` of the subset."""
        return self.golden.document(self.numbers[number])

    def probes(self) -> list[Probe]:
        """The probes in these documents."""
        places = {original: number for number, original in enumerate(self.numbers)}
        return [replace(p, document=places[p.document]) for p in self.golden.probes() if p.document in places]

    def continuations(self) -> list[Continuation]:
        """The answers to the shortest prompts, cut short."""
        places = {original: number for number, original in enumerate(self.numbers)}
        continuations = _easiest(self.golden, self.answers)
        cut = slice(self.steps)
        return [
            Continuation(places[c.document], c.prompt, c.ids[cut], c.margin[cut], c.noise[cut]) for c in continuations
        ]  # fmt: skip


def shortest(golden: Golden, tokens: int, answers: int, steps: int) -> Subset:
    """The shortest documents of ``golden`` with at least ``tokens`` in all, and those of its shortest prompts."""
    lengths = {number: len(golden.document(number).ids) for number in range(len(golden))}
    documents = list(dict.fromkeys(c.document for c in _easiest(golden, answers)))
    chosen: list[int] = []
    for number in sorted(lengths, key=lambda n: (lengths[n], n)):
        if sum(lengths[n] for n in chosen) >= tokens:
            break
        chosen.append(number)
    return Subset(golden, [*chosen, *(n for n in documents if n not in chosen)], answers, steps)


def drawn(golden: Golden, tokens: int, documents: int, answers: int, steps: int, seed: int) -> Subset:
    """Random documents of ``golden`` by ``seed``, with a minimum count and number of tokens, and those of its shortest
    prompts; all of it if it is smaller."""
    chosen = list(dict.fromkeys(c.document for c in _easiest(golden, answers)))
    others = [number for number in range(len(golden)) if number not in chosen]
    random.Random(seed).shuffle(others)
    while others and (sum(len(golden.document(n).ids) for n in chosen) < tokens or len(chosen) < documents):
        chosen.append(others.pop())
    return Subset(golden, chosen, answers, steps)


def _easiest(golden: Golden, count: int) -> list[Continuation]:
    """The answers to the shortest prompts."""
    return sorted(golden.continuations(), key=lambda c: c.prompt)[:count]
