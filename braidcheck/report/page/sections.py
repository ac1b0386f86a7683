"""Sections on one Run beside its verdicts: headroom, the model by position, measured limits, kill matrix."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from braidcheck.gates import GATES
from braidcheck.gates.mutants import CAUGHT, score
from braidcheck.report.rows import Row, headroom, limit_fraction, reading
from braidcheck.result import Run, Status, Verdict

KINDS = ("named", "generated")
LIMITS = {"bandwidth": "of_bandwidth", "GEMM peak": "of_gemm_peak"}  # keys of a timing's numbers


@dataclass(frozen=True)
class Bar:
    """A row with a bar: ``part`` is its length, 1 the full one, ``mark`` a second reading on the same scale."""

    name: str
    part: float
    said: str
    detail: str = ""
    bad: bool = False
    mark: float | None = None

    @property
    def percent(self) -> float:
        """Length of the bar in percent, at most 100."""
        return _percent(self.part)

    @property
    def mark_percent(self) -> float | None:
        """Place of the mark in percent."""
        return None if self.mark is None else _percent(self.mark)


def _percent(part: float) -> float:
    return 100.0 if math.isnan(part) else round(100 * min(max(part, 0.0), 1.0), 2)


def headrooms(rows: Iterable[Row]) -> list[Bar]:
    """The worst error ratio of each op, with the PyTorch baseline's on the same case; the least headroom first."""
    worst = [(row.worst, row) for row in rows if row.gate == "accuracy" and row.worst]
    ordered = sorted(worst, key=lambda pair: -limit_fraction(pair[0]))
    return [_bar(one, row.subject, f"{row.count} cases evaluated; worst: {one.subject}") for one, row in ordered]


def case_bar(verdict: Verdict) -> Bar:
    """One case of an op, by the name that is between its brackets."""
    return _bar(verdict, verdict.subject.partition("[")[2].removesuffix("]") or verdict.subject, verdict.message)


def _bar(verdict: Verdict, name: str, detail: str) -> Bar:
    baseline = verdict.metrics.get("baseline_error_ratio")
    known = isinstance(baseline, int | float) and math.isfinite(baseline)
    detail += f"; the PyTorch baseline uses {baseline:.3g}" if known else ""
    mark = baseline if known else None
    return Bar(name, limit_fraction(verdict), _left(verdict), detail, verdict.status != Status.PASS, mark)


def _left(verdict: Verdict) -> str:
    return headroom(verdict) + (" left" if limit_fraction(verdict) <= 1 else "")


def checks(run: Run) -> list[Bar]:
    """The model's checks that have a limit, the least headroom first."""
    shown = {gate.name for gate in GATES.values() if gate.has_headroom}
    limited = [v for v in run.verdicts if v.gate in shown and v.limit_fraction is not None]
    return [
        Bar(v.subject, limit_fraction(v), _left(v), " ".join(reading(v)), v.status not in (Status.PASS, Status.SKIPPED))
        for v in sorted(limited, key=lambda v: -limit_fraction(v))
    ]


@dataclass(frozen=True)
class Stratum:
    """The difference of NLL to HF float32 at some positions, in nats per token: interval and HF bfloat16's own."""

    positions: str
    value: float
    low: float
    high: float
    floor: float


@dataclass(frozen=True)
class Strata:
    """The strata of one model; places on ``scale``, the largest difference either way."""

    subject: str
    rows: tuple[Stratum, ...]

    @property
    def scale(self) -> float:
        """Half of the width of the drawing, in nats per token."""
        return max(max(abs(row.low), abs(row.high), abs(row.floor)) for row in self.rows) or 1.0

    def place(self, value: float) -> float:
        """Where ``value`` lies from the left, in percent."""
        return round(50 + 48 * value / self.scale, 2)


def strata(run: Run) -> list[Strata]:
    """From the coherence gate's ``position`` verdicts, with the ``nll`` of a stratum, its bounds and its floor."""
    strata_of_run = []
    for verdict in run.verdicts:
        if verdict.gate == "coherence" and verdict.subject.endswith(": position"):
            known = [_stratum(name, item) for name, item in verdict.metrics.items() if isinstance(item, Mapping)]
            if stratum := tuple(one for one in known if one):
                strata_of_run.append(Strata(verdict.subject, stratum))
    return strata_of_run


def _stratum(name: str, item: Mapping[str, Any]) -> Stratum | None:
    numbers = [item.get(key) for key in ("nll", "nll_low", "nll_high", "nll_floor")]
    values = [value for value in numbers if isinstance(value, int | float) and math.isfinite(value)]
    return Stratum(name, *values) if len(values) == len(numbers) else None


def roofline(run: Run) -> list[Bar]:
    """By timed series, the larger of its parts of the measured bandwidth and of the measured GEMM peak."""
    bars = []
    for verdict in run.verdicts:
        known = {name: verdict.metrics.get(key) for name, key in LIMITS.items()}
        parts = {name: part for name, part in known.items() if isinstance(part, int | float)}
        if parts:
            by = max(parts, key=parts.__getitem__)
            share = f"{parts[by]:.0%} of {by}"
            detail = f"{verdict.value:.4g} {verdict.unit}" if verdict.value is not None else ""
            bars.append(Bar(verdict.subject, parts[by], share, detail, verdict.status != Status.PASS))
    return sorted(bars, key=lambda bar: bar.part)


@dataclass(frozen=True)
class Point:
    """A place in the roofline's drawing, in percent from the left and from the top."""

    x: float
    y: float
    said: str = ""


MAX_INTENSITY, MIN_REACHED = 1e3, 1e-4  # of the machine's own ratio of arithmetic to memory; of the GEMM peak


def under_roof(intensity: float, reached: float, said: str = "") -> Point:
    """The place of a series that computes ``intensity`` times the machine's ratio of arithmetic to memory for each
    byte and reaches that part of the GEMM peak, both on a logarithmic scale."""
    x = 50 * (1 + math.log(intensity, MAX_INTENSITY))
    return Point(round(x, 2), round(100 * math.log(reached, MIN_REACHED), 2), said)


ROOF = (under_roof(1 / MAX_INTENSITY, 1 / MAX_INTENSITY), under_roof(1, 1), under_roof(MAX_INTENSITY, 1))


def roof_points(run: Run) -> list[Point]:
    """By timed series, its place under the roof; those that compute too little to be in the drawing are left out."""
    points = []
    for verdict in run.verdicts:
        parts = [verdict.metrics.get(key) for key in LIMITS.values()]
        known = [part for part in parts if isinstance(part, int | float) and 0 < part < math.inf]
        if len(known) == len(parts) and known[1] >= MIN_REACHED:
            bandwidth, peak = known
            label = f"{verdict.subject}: {bandwidth:.0%} of bandwidth, {peak:.0%} of GEMM peak"
            points.append(under_roof(peak / bandwidth, peak, label))
    return [point for point in points if 0 <= point.x <= 100]


class Survivor(NamedTuple):
    """A fault that no gate caught: description, an input that shows it, its place and the changed lines."""

    name: str
    description: str
    witness: str
    place: str
    diff: tuple[str, ...]


@dataclass(frozen=True)
class Kills:
    """A kill matrix: ``rows`` hold a part, its scores by kind, and how many each of ``gates`` caught first,
    among which are crash and timeout; ``survivors`` are those that no gate caught."""

    lane: str
    gates: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]
    scores: tuple[str, ...]
    survivors: tuple[Survivor, ...]

    @property
    def most(self) -> int:
        """The largest count, by which cells are shaded."""
        return max((count for _, _, counts in self.rows for count in counts), default=0) or 1


def kills(matrices: Iterable[Mapping[str, Any]]) -> list[Kills]:
    """One a matrix."""
    return [_kills(matrix) for matrix in matrices]


def _kills(matrix: Mapping[str, Any]) -> Kills:
    faults = [row for row in matrix["mutants"] if row["kind"] in KINDS]
    caught = [row for row in faults if row["outcome"] in CAUGHT]
    ways = tuple(dict.fromkeys(_way(row) for row in caught))
    scores_of_parts = []
    for part in dict.fromkeys(row["part"] for row in faults):
        own = [row for row in faults if row["part"] == part]
        first = Counter(_way(row) for row in own if row["outcome"] in CAUGHT)
        scores_of_parts.append((part, tuple(_score(own, kind) for kind in KINDS), tuple(first[way] for way in ways)))
    missed = [row for row in faults if row["outcome"] == "survived" and not row.get("equivalent")]
    survivors = tuple(
        Survivor(
            row["id"],
            row.get("description", ""),
            row.get("witness", ""),
            row.get("place", ""),
            tuple(map(str, row.get("diff", ()))),
        )
        for row in missed
    )
    scores = tuple(f"{score} {kind}" for kind in KINDS if (score := _score(faults, kind)))
    return Kills(str(matrix["lane"]), ways, tuple(scores_of_parts), scores, survivors)


def _way(row: Mapping[str, Any]) -> str:
    return row["outcome"] if row["outcome"] != "killed" else row["gate"]


def _score(faults: Sequence[Mapping[str, Any]], kind: str) -> str:
    caught, total = score(row for row in faults if row["kind"] == kind)
    return f"{caught} of {total}" if total else ""
