"""An engine's surfaces and samplers as tables: on which of them it is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from braidcheck.gates import samplers, surfaces
from braidcheck.result import Run, Verdict

SURFACES, SAMPLERS = surfaces.NAME, samplers.NAME
HEADS = ("surface", "verdict", "answers", "KL, x HF bfloat16's", "of a position's limit", "what")


@dataclass(frozen=True)
class Table:
    """One engine: what separates right from wrong answers, and one row of HEADS per surface and sampler setting."""

    engine: str
    separates: str
    rows: tuple[tuple[str, ...], ...]


def tables(run: Run) -> list[Table]:
    """One table per engine, in the order of the verdicts: the surfaces, then the samplers."""
    verdicts_by_engine: dict[str, list[Verdict]] = {}
    for gate in (SURFACES, SAMPLERS):
        for verdict in run.verdicts:
            if verdict.gate == gate:
                verdicts_by_engine.setdefault(verdict.subject.rpartition(": ")[0], []).append(verdict)
    return [_table(engine, verdicts) for engine, verdicts in verdicts_by_engine.items()]


def _table(engine: str, verdicts: list[Verdict]) -> Table:
    separating = [verdict.message for verdict in verdicts if verdict.subject.endswith(f": {surfaces.SEPARATING}")]
    rows = tuple(_row(verdict) for verdict in verdicts if not verdict.subject.endswith(f": {surfaces.SEPARATING}"))
    return Table(engine, next(iter(separating), ""), rows)


def _row(verdict: Verdict) -> tuple[str, ...]:
    name, metrics = verdict.subject.rpartition(": ")[2], verdict.metrics
    if verdict.gate == SAMPLERS:
        return (f"sampling: {name}", str(verdict.status), _number(metrics, "tokens"), "", "", verdict.message)
    numbers = (_number(metrics, key) for key in ("answers", "kl_ratio", "kl_used"))
    return (name, str(verdict.status), *numbers, verdict.message)


def _number(metrics: Mapping[str, Any], key: str) -> str:
    value = metrics.get(key)
    return f"{value:.3g}" if isinstance(value, float) else str(value) if isinstance(value, int) else ""
