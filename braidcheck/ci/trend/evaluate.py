"""Evaluates Runs into a Trend: which series changed, since when, by how much, how surely and why."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from braidcheck.ci.history import timestamp
from braidcheck.ci.trend import changes
from braidcheck.ci.trend.series import Series, collect
from braidcheck.result import Run

NEIGHBOUR_NIGHTS = 5  # runs on each side that decide whether value or control moved
DATING_SLACK_NIGHTS = changes.CONFIRM - 1  # runs by which a change may be misdated


@dataclass(frozen=True)
class Finding:
    """A change of one series: ``time`` and commit of the first run at the new level, the signed ``change`` of the value
    (or of its ratio to the control, if there is one) as a fraction, its ``confidence``, and its ``cause``: kernel,
    control or environment, explained in ``detail``."""

    series: str
    time: str
    change: float
    confidence: float
    cause: str
    detail: str
    worse: bool

    def plain(self) -> Mapping[str, object]:
        """The finding as JSON data, without ``detail`` and ``worse``."""
        return {key: getattr(self, key) for key in ("series", "time", "change", "confidence", "cause")}


@dataclass(frozen=True)
class Trend:
    """All changes, oldest first; how many series were evaluated; why others were skipped."""

    findings: tuple[Finding, ...]
    evaluated: int
    skipped: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """1 if something changed for the worse, 3 if nothing could be evaluated, else 0."""
        return 1 if any(finding.worse for finding in self.findings) else 0 if self.evaluated else 3


def evaluate(runs: Iterable[Run], progress: Callable[[str, int, int], None] = lambda *_: None) -> Trend:
    """Evaluate every series of ``runs``. A series without a reading in the last run is listed as skipped, but changes
    in its earlier runs are still reported."""
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    everything = collect(runs)
    for number, series in enumerate(everything):
        progress(series.name, number, len(everything))
        findings.extend(_findings(series))
        if why := series.missing or _too_few(series):
            skipped[series.name] = why
    findings.sort(key=lambda finding: timestamp(finding.time))
    return Trend(tuple(findings), len(everything) - len(skipped), skipped)


def _too_few(series: Series) -> str:
    few = len(series.nights) < changes.MIN_NIGHTS
    return f"{len(series.nights)} nightly runs, {changes.MIN_NIGHTS} are needed" if few else ""


def _findings(series: Series) -> Iterator[Finding]:
    for change in changes.find(np.log(series.values) - np.log(series.controls)):
        cause, detail = _cause(series, change)
        first = series.runs[series.nights[change.index]].environment
        since = _since(series, change)
        yield Finding(
            series=series.name,
            time=first["started"],
            change=round(math.expm1(change.step), 6),
            confidence=math.floor(change.confidence * 1e6) / 1e6,
            cause=cause,
            detail="; ".join(filter(None, (since, detail))),
            worse=(change.step < 0) == series.more_is_better,
        )


def _since(series: Series, change: changes.Change) -> str:
    before, after = (
        str(series.runs[series.nights[index]].environment.get("commit") or "")[:12]
        for index in (change.index - 1, change.index)
    )
    return f"since commit {after}, after {before or 'one unknown'}" if after else ""


def _cause(series: Series, change: changes.Change) -> tuple[str, str]:
    """The environment, if it differs across the change; else value or control, whichever moved more."""
    before, after = (
        series.runs[series.nights[index]].environment
        for index in (change.index - 1 - DATING_SLACK_NIGHTS, change.index + DATING_SLACK_NIGHTS)
    )
    if moved := environment_moves(before, after):
        return "environment", ", ".join(moved)
    value, control = (_move(readings, change) for readings in (series.values, series.controls))
    if abs(control) > abs(value):
        return "control", f"the control moved by {control:+.1%}, the kernel by {value:+.1%}"
    return "kernel", ""


def _move(readings: list[float], change: changes.Change) -> float:
    """How much ``readings`` moved, as a fraction, from the runs before the change to those after it."""
    before = readings[max(change.start, change.index - NEIGHBOUR_NIGHTS) : change.index]
    after = readings[change.index : min(change.end, change.index + NEIGHBOUR_NIGHTS)]
    return statistics.median(after) / statistics.median(before) - 1


def environment_moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Differences in driver, torch, triton and clocks; entries that only one Run has are ignored, and numbers differ
    from 1% on."""
    old, new = _watched(before), _watched(after)
    return [f"{key} {old[key]} -> {new[key]}" for key in old if key in new and _differ(old[key], new[key])]


def _watched(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    libraries = environment.get("libraries") or {}
    clocks = environment.get("clocks")
    clocks = clocks if isinstance(clocks, Mapping) else {"": clocks}
    circumstances = {
        "driver": environment.get("driver"),
        "torch": libraries.get("torch"),
        "triton": libraries.get("triton"),
    }
    circumstances |= {f"clock {name}".strip(): value for name, value in clocks.items()}
    return {key: value for key, value in circumstances.items() if value not in (None, "")}


def _differ(old: Any, new: Any) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) > changes.FLOOR * abs(old)
    return bool(old != new)
