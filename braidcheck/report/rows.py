"""A Run as rows of a table: one per op or check, the worst first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from braidcheck.result import SEVERITY, Run, Status, Verdict

MAX_NAMES = 4
LARGE = 10  # factor above which percentages are hard to read


@dataclass(frozen=True)
class Row:
    """The verdicts of one gate on one thing: all cases of an op, or a single check."""

    lane: str
    gate: str
    subject: str
    verdicts: tuple[Verdict, ...]

    @cached_property
    def evaluated(self) -> tuple[Verdict, ...]:
        """The verdicts that are not skipped."""
        return tuple(verdict for verdict in self.verdicts if verdict.status != Status.SKIPPED)

    @cached_property
    def status(self) -> Status:
        """The worst of those evaluated."""
        return min((v.status for v in self.evaluated or self.verdicts), key=SEVERITY.index)

    @cached_property
    def worst(self) -> Verdict | None:
        """The verdict that used most of its limit."""
        return max((v for v in self.evaluated if v.limit_fraction is not None), key=limit_fraction, default=None)

    @property
    def count(self) -> str:
        """How many were evaluated, of how many; one "skipped" may stand for several cases."""
        total = sum(len(verdict.metrics.get("subjects", (verdict.subject,))) for verdict in self.verdicts)
        return f"{len(self.evaluated)} of {total}"

    @property
    def reading(self) -> tuple[str, str, str]:
        """The worst value, its limit, and their unit."""
        return reading(self.worst) if self.worst else ("", "", "")

    @property
    def headroom(self) -> str:
        """What is left of the limit; empty without a number."""
        return headroom(self.worst) if self.worst else ""

    @property
    def seconds(self) -> float:
        """Time spent on these verdicts, in seconds."""
        return sum(verdict.seconds for verdict in self.verdicts)


def rows(run: Run) -> list[Row]:
    """The run's rows: by severity, then in the order of the verdicts."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in run.verdicts:
        groups.setdefault((verdict.lane, verdict.gate, subject_of(verdict)), []).append(verdict)
    made = [Row(*key, tuple(verdicts)) for key, verdicts in groups.items()]
    return sorted(made, key=lambda row: SEVERITY.index(row.status))


def subject_of(verdict: Verdict) -> str:
    """The op or model of a verdict: cases are called op[case], layers "model: layer 3"; other subjects stand for
    themselves."""
    return verdict.subject.partition("[")[0].partition(": layer ")[0]


def reading(verdict: Verdict) -> tuple[str, str, str]:
    """The value, its limit, and their unit; empty texts without a value or limit."""
    if verdict.value is None or verdict.limit is None:
        return "", "", ""
    return f"{verdict.value:.4g}", f"{'>=' if verdict.higher_is_better else '<='} {verdict.limit:.4g}", verdict.unit


def headroom(verdict: Verdict) -> str:
    """1 - the used part of the limit, in percent; or how many times it was used if that is more than once."""
    part = verdict.limit_fraction
    if part is None:
        return ""
    return f"{1 - part:.0%}" if part <= 1 else f"none, {part:.3g} x the limit"


def limit_fraction(verdict: Verdict) -> float:
    """The used part of the limit as a sort key: NaN and missing numbers are worse than any number. For a limit of 0 it
    is the number itself.
    """
    part = verdict.value if verdict.limit == 0 else verdict.limit_fraction
    return math.inf if part is None or math.isnan(part) else part


@dataclass(frozen=True)
class Group:
    """Verdicts that were skipped for the same reason."""

    verdicts: tuple[Verdict, ...]

    @property
    def first(self) -> Verdict:
        """The first verdict, which represents all."""
        return self.verdicts[0]

    @property
    def names(self) -> str:
        """Gate and subjects, a few of them by name."""
        named = [verdict.subject for verdict in self.verdicts[:MAX_NAMES]]
        more = len(self.verdicts) - len(named)
        return f"{self.first.gate} {', '.join(named)}" + (f" and {more} more" if more else "")


def skipped(run: Run) -> list[Group]:
    """The skipped verdicts, one group per reason."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in (v for v in run.verdicts if v.status == Status.SKIPPED):
        groups.setdefault((verdict.gate, verdict.message), []).append(verdict)
    return [Group(tuple(group)) for group in groups.values()]


def summary_line(run: Run, interrupted: bool = False) -> str:
    """The last line: the summary of the run."""
    counts = {status: sum(v.status == status for v in run.verdicts) for status in SEVERITY}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    skipped = sum("budget" in verdict.metrics for verdict in run.verdicts)
    parts += [f"{skipped} of these skipped for the budget"] if skipped else []
    parts += [f"{len(run.missing)} without a verdict"] if run.missing else []
    word = "INTERRUPTED" if interrupted else str(run.status).upper()
    seconds = run.environment.get("seconds")
    took = f" in {seconds:.0f} s" if seconds is not None else ""
    return f"{word}: {', '.join(parts) or 'nothing was evaluated'}{took}"
