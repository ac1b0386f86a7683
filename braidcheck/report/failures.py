"""The failures of a Run: one entry per failing op or check, with suspect ops and command, the worst first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from braidcheck.gates import GATES
from braidcheck.report.rows import MAX_NAMES, headroom, limit_fraction, reading, rows, subject_of
from braidcheck.result import SEVERITY, Run, Status, Verdict

BAD = (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)
PER_OP = frozenset(gate.name for gate in GATES.values() if gate.per_op)


@dataclass(frozen=True)
class Blame:
    """What is to blame: ops, layers as text, or both; empty if unknown."""

    ops: tuple[str, ...] = ()
    layers: str = ""

    def __str__(self) -> str:
        return ", ".join(part for part in (" + ".join(self.ops), self.layers) if part)


@dataclass(frozen=True)
class Failure:
    """Verdicts of one status and gate with the same subject or message, the worst first; ``evaluated`` counts the
    subject's verdicts that are not skipped."""

    verdicts: tuple[Verdict, ...]
    evaluated: int

    @property
    def first(self) -> Verdict:
        """The worst verdict, which represents all."""
        return self.verdicts[0]

    @property
    def names(self) -> str:
        """The subjects: the worst case of an op and how many fail, or a few checks by name."""
        subjects = list(dict.fromkeys(subject_of(verdict) for verdict in self.verdicts))
        if len(subjects) == 1:
            return self.first.subject
        more = len(subjects) - MAX_NAMES
        return ", ".join(subjects[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")

    @property
    def count(self) -> str:
        """How many of the subject's cases fail; empty for a single case, or for several subjects."""
        cases = self.evaluated > 1 and len({subject_of(verdict) for verdict in self.verdicts}) == 1
        return f"{len(self.verdicts)} of {self.evaluated}" if cases else ""

    @property
    def reading(self) -> str:
        """Number, limit and unit as text; empty without a number."""
        value, limit, unit = reading(self.first)
        return f"{value} (limit {limit}) {unit}".strip() if value else ""

    @property
    def headroom(self) -> str:
        """What is left of the limit in percent, or how many times it was used."""
        return headroom(self.first)

    @property
    def blame(self) -> Blame:
        """What is to blame."""
        return blame(self.first)


def failures(run: Run) -> list[Failure]:
    """All failures by severity, then by the used part of the limit; without ``Run.missing``."""
    by_cause: dict[tuple[str, ...], list[Failure]] = {}
    for row in rows(run):
        for status in BAD:
            bad = sorted((v for v in row.evaluated if v.status == status), key=lambda v: (-limit_fraction(v), v.id))
            if bad:
                # Checks with the same message, such as the same error, are one entry.
                key = (status, row.gate, row.lane, bad[0].message)
                by_cause.setdefault(key, []).append(Failure(tuple(bad), len(row.evaluated)))
    joined = [_joined(alike) for alike in by_cause.values()]
    return sorted(joined, key=lambda one: (SEVERITY.index(one.first.status), -limit_fraction(one.first), one.first.id))


def _joined(alike: list[Failure]) -> Failure:
    return Failure(tuple(v for one in alike for v in one.verdicts), sum(one.evaluated for one in alike))


def blame(verdict: Verdict) -> Blame:
    """What is to blame for ``verdict``: its ``metrics["blame"]`` if the gate gave one (``ops`` with ``layers``, the
    first and the last, or only ops), else its op, and the layer that it names or at which the model first departs."""
    said = verdict.metrics.get("blame")
    if isinstance(said, Mapping) and said:
        return Blame(tuple(map(str, said.get("ops") or ())), _layers(said.get("layers")))
    about = (re.split(r"[\[ ]", verdict.subject)[0],) if verdict.gate in PER_OP else ()
    ops = tuple(map(str, said)) if isinstance(said, list | tuple) else about
    named = re.search(r": layer (\d+)", verdict.subject)
    layer = named[1] if named else verdict.metrics.get("departs_first_at_layer")
    return Blame(ops, _layers(layer))


def _layers(layers: object) -> str:
    if layers is None or layers == []:
        return ""
    first, last = (layers[0], layers[-1]) if isinstance(layers, list | tuple) else (layers, layers)
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def suspects(failures: Iterable[Failure]) -> dict[str, list[str]]:
    """The blamed ops, the most often blamed first, each with the gates that blame it."""
    by_op: dict[str, dict[str, None]] = {}
    times: Counter[str] = Counter()
    for one in failures:
        for op in one.blame.ops:
            by_op.setdefault(op, {})[one.first.gate] = None
            times[op] += 1
    return {op: list(by_op[op]) for op, _ in times.most_common()}
