"""Extracts the series of timings and rates from Runs, for each machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from braidcheck.ci.history import hardware, timestamp
from braidcheck.ci.trend import table
from braidcheck.result import Run, Status, Verdict

TIMES = frozenset(("s", "ms", "us", "µs", "ns"))
MAX_SILENCE_S = 36 * 3600  # seconds after which a machine has missed a nightly run


@dataclass
class Series:
    """One timing or rate on one machine: value and, if one was timed in the same Run, control, per nightly run.
    ``nights`` are positions in ``runs``, the machine's Runs, oldest first; ``missing`` says why the last run has no
    reading, and is empty if it has one.
    """

    name: str
    runs: Sequence[Run]
    more_is_better: bool
    nights: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    controls: list[float] = field(default_factory=list)
    missing: str = ""


def collect(runs: Iterable[Run]) -> list[Series]:
    """All series of all machines. If there are several machines, a series' name ends in its machine."""
    machines: dict[str, list[Run]] = {}
    for run in sorted(runs, key=_timestamp):
        machines.setdefault(hardware(run.environment), []).append(run)
    newest = max((_timestamp(own[-1]) for own in machines.values()), default=0.0)
    return [
        series
        for machine, own in machines.items()
        for series in _of_machine(own, f" @ {machine}" if len(machines) > 1 else "", newest)
    ]


def _of_machine(runs: list[Run], suffix: str, newest: float) -> Iterator[Series]:
    verdicts_by_series: dict[str, list[tuple[int, Verdict]]] = {}
    for night, run in enumerate(runs):
        for verdict in run.verdicts:
            name = verdict.subject if verdict.gate == table.GATE else verdict.id
            if name in verdicts_by_series or _is_timing(verdict):
                verdicts_by_series.setdefault(name, []).append((night, verdict))
    silent = f"this machine's last Run was on {runs[-1].environment['started']}"
    for name, verdicts in verdicts_by_series.items():
        series = _series(name + suffix, runs, verdicts)
        if newest - _timestamp(runs[-1]) > MAX_SILENCE_S:
            series.missing = silent
        yield series


def _is_timing(verdict: Verdict) -> bool:
    """Whether this is a duration or a rate, or was to be one."""
    return verdict.gate == table.GATE or verdict.unit in TIMES or verdict.unit.endswith("/s")


def _series(name: str, runs: list[Run], verdicts: list[tuple[int, Verdict]]) -> Series:
    """Readings of the runs that have one; if some run has a control, a run without it has no reading."""
    sample = next((verdict for _, verdict in verdicts if _is_timing(verdict)))
    series = Series(name, runs, sample.higher_is_better or sample.unit.endswith("/s"))
    controlled = any(_control(verdict) for _, verdict in verdicts)
    for night, verdict in verdicts:
        value, control = _positive(verdict.value), _control(verdict)
        if verdict.status == Status.ERROR or not value or (controlled and not control):
            continue
        series.nights.append(night)
        series.values.append(value)
        series.controls.append(control or 1.0)
    series.missing = _why_missing(series, dict(verdicts).get(len(runs) - 1), controlled)
    return series


def _why_missing(series: Series, last: Verdict | None, controlled: bool) -> str:
    if series.nights and series.nights[-1] == len(series.runs) - 1:
        return ""
    if last is None:
        return "the last nightly run does not have it"
    if controlled and _positive(last.value) and not _control(last):
        return "its control was not timed in the last nightly run"
    return last.message


def _control(verdict: Verdict) -> float | None:
    """The frozen control from the same Run, in the same unit: ``metrics["control"]``."""
    return _positive(verdict.metrics.get("control"))


def _positive(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _timestamp(run: Run) -> float:
    return timestamp(run.environment["started"])
