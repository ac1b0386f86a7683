"""Runs in, Trend out: which series changed, since when, how much, how sure, and what moved."""

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

NEIGHBOUR_NIGHTS = 5  # nights on each side by which it is said whether value or control moved
DATING_SLACK_NIGHTS = changes.CONFIRM - 1  # nights by which a change may be dated wrongly


@dataclass(frozen=True)
class Finding:
    """A change of one series: the first night's ``time`` and commit at the new level, the ``change`` of the value
    (of its ratio to the control, where there is one) as a fraction, up or down, the ``confidence`` in it, and the
    ``cause``: kernel, control or environment, with what is known of it in ``detail``."""

    series: str
    time: str
    change: float
    confidence: float
    cause: str
    detail: str
    worse: bool

    def plain(self) -> Mapping[str, object]:
        """What a program is told."""
        return {key: getattr(self, key) for key in ("series", "time", "change", "confidence", "cause")}


@dataclass(frozen=True)
class Trend:
    """All changes, oldest first; how many series were evaluated; why the others were not."""

    findings: tuple[Finding, ...]
    evaluated: int
    skipped: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """1 where something changed for the worse, 3 where nothing could be evaluated, else 0."""
        return 1 if any(finding.worse for finding in self.findings) else 0 if self.evaluated else 3


def evaluate(runs: Iterable[Run], progress: Callable[[str, int, int], None] = lambda *_: None) -> Trend:
    """Evaluate every series of ``runs``. One without a reading of the last night is skipped, but what is known of
    its earlier nights is reported all the same."""
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
    return f"{len(series.nights)} nights, {changes.MIN_NIGHTS} are needed" if few else ""


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
    """Environment, if it differs across the change; else whichever of value and control moved more."""
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
    """How much ``readings`` alone moved, as a fraction, from the nights before the change to those after it."""
    before = readings[max(change.start, change.index - NEIGHBOUR_NIGHTS) : change.index]
    after = readings[change.index : min(change.end, change.index + NEIGHBOUR_NIGHTS)]
    return statistics.median(after) / statistics.median(before) - 1


def environment_moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs of driver, torch, triton and clocks, in words; what only one of the Runs knows is not compared,
    and numbers differ from one per cent on."""
    old, new = _watched(before), _watched(after)
    return [f"{key} {old[key]} -> {new[key]}" for key in old if key in new and _differ(old[key], new[key])]


def _watched(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    libraries = environment.get("libraries") or {}
    clocks = environment.get("clocks")
    clocks = clocks if isinstance(clocks, Mapping) else {"": clocks}
    found = {"driver": environment.get("driver"), "torch": libraries.get("torch"), "triton": libraries.get("triton")}
    found |= {f"clock {name}".strip(): value for name, value in clocks.items()}
    return {key: value for key, value in found.items() if value not in (None, "")}


def _differ(old: Any, new: Any) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(new - old) > changes.FLOOR * abs(old)
    return bool(old != new)
