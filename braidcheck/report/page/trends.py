"""Every series of a history as a card: its nightly runs, its levels, and where they changed, with the commits."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from braidcheck.ci.history import hardware, timestamp
from braidcheck.ci.trend.evaluate import Finding, Trend
from braidcheck.ci.trend.series import Series, collect
from braidcheck.report.rows import LARGE, rows
from braidcheck.result import Run

NO_CHANGE_DETECTION = "checked against its limit in every run, not for changes of level"
EPOCH = 1e8  # a time beyond this is seconds since 1970, below it a number of the user's own


@dataclass(frozen=True)
class Card:
    """One series: ``values`` of the runs that have one, ``drawn`` the same relative to the control, and texts.
    ``times`` are seconds since 1970 or plain numbers, ``levels`` the medians between changes, both one per run.
    """

    name: str
    label: str
    times: Sequence[float]
    values: Sequence[float]
    drawn: Sequence[float]
    levels: Sequence[float]
    commits: Sequence[str]
    findings: Sequence[Finding]
    limit: float | None = None
    note: str = ""

    @property
    def rank(self) -> int:
        """0 if something got worse, 1 if better, 2 if no change is known."""
        return 0 if any(f.worse for f in self.findings) else 1 if self.findings else 2

    @property
    def dated(self) -> bool:
        """Whether times are dates."""
        return all(time > EPOCH for time in self.times)


def cards(runs: Sequence[Run], trend: Trend) -> list[Card]:
    """All series, those that got worse first."""
    by_name: dict[str, list[Finding]] = {}
    for finding in trend.findings:
        by_name.setdefault(finding.series, []).append(finding)
    timed = [_card(s, by_name.get(s.name, []), trend.skipped.get(s.name, "")) for s in collect(runs) if s.nights]
    return sorted([*timed, *_limited(runs)], key=lambda card: card.rank)


def _card(series: Series, findings: list[Finding], note: str) -> Card:
    nights = [series.runs[night] for night in series.nights]
    controlled = any(control != 1.0 for control in series.controls)
    drawn = [value / control for value, control in zip(series.values, series.controls, strict=True)]
    times = _times(nights)
    return Card(
        name=series.name,
        label=("relative to the frozen control" if controlled else "as measured")
        + (", higher is better" if series.more_is_better else ", lower is better"),
        times=times,
        values=series.values,
        drawn=drawn,
        levels=_levels(times, drawn, [timestamp(finding.time) for finding in findings]),
        commits=_commits(nights),
        findings=findings,
        note=f"skipped: {note}" if note else "",
    )


def _limited(runs: Sequence[Run]) -> Iterator[Card]:
    """What is evaluated against a limit, an op or a check of a machine a card: the part of the limit that it uses."""
    nights_by_name: dict[str, list[tuple[Run, float]]] = {}
    machines = [hardware(run.environment) for run in runs]
    for run, machine in zip(runs, machines, strict=True):
        for row in rows(run):
            if row.worst and row.worst.limit_fraction is not None and not row.worst.unit.endswith("/s"):
                name = "/".join(part for part in (row.lane, row.gate, row.subject) if part)
                name += f" @ {machine}" if len(set(machines)) > 1 else ""
                nights_by_name.setdefault(name, []).append((run, min(row.worst.limit_fraction, LARGE)))
    for name, nights in nights_by_name.items():
        if len(nights) == 1:
            continue  # a point is no trend
        seen, used = [run for run, _ in nights], [used for _, used in nights]
        message = f"{'over its limit in the last run;  ' if used[-1] > 1 else ''}{NO_CHANGE_DETECTION}"
        yield Card(name, "used part of the limit", _times(seen), used, used, (), _commits(seen), (), 1.0, message)


def _times(nights: Sequence[Run]) -> list[float]:
    return [timestamp(run.environment["started"]) for run in nights]


def _commits(nights: Sequence[Run]) -> list[str]:
    return [str(run.environment.get("commit") or "")[:12] for run in nights]


def _levels(times: Sequence[float], values: Sequence[float], changes: Sequence[float]) -> list[float]:
    """By night, the median of the nights between two changes."""
    span = [sum(change <= time for change in changes) for time in times]
    medians = {
        part: statistics.median(v for v, own in zip(values, span, strict=True) if own == part) for part in set(span)
    }
    return [medians[part] for part in span]
