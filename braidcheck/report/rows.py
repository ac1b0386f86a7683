"""A Run as the rows of a table: one an op, one a check, the worst first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from braidcheck.results import SEVERITY, Run, Status, Verdict

MOST_NAMES = 4


@dataclass(frozen=True)
class Row:
    """The verdicts of one gate on one thing: all cases of an op, or a single check."""

    lane: str
    gate: str
    subject: str
    verdicts: tuple[Verdict, ...]

    @property
    def judged(self) -> tuple[Verdict, ...]:
        """Those that say something."""
        return tuple(verdict for verdict in self.verdicts if verdict.status != Status.NOT_JUDGED)

    @property
    def status(self) -> Status:
        """The worst of those judged."""
        return min((v.status for v in self.judged or self.verdicts), key=SEVERITY.index)

    @property
    def worst(self) -> Verdict | None:
        """The verdict that used most of its limit."""
        return max((v for v in self.judged if v.used is not None), key=_used, default=None)

    @property
    def count(self) -> str:
        """How many were judged, of how many; one "not judged" may stand for several cases."""
        total = sum(len(verdict.numbers.get("subjects", (verdict.subject,))) for verdict in self.verdicts)
        return f"{len(self.judged)} of {total}"

    @property
    def reading(self) -> tuple[str, str, str]:
        """The worst value, the limit it was held against, and their unit."""
        if (worst := self.worst) is None:
            return "", "", ""
        return f"{worst.value:.4g}", f"{'>=' if worst.floor else '<='} {worst.limit:.4g}", worst.unit

    @property
    def headroom(self) -> str:
        """What is left of the limit, in percent; empty where there is none left or no limit."""
        worst = self.worst
        return f"{1 - worst.used:.0%}" if worst and worst.used is not None and worst.used <= 1 else ""

    @property
    def seconds(self) -> float:
        """Time spent on these verdicts, in seconds."""
        return sum(verdict.seconds for verdict in self.verdicts)


def rows(run: Run) -> list[Row]:
    """The run's rows: by severity, then in the order of the verdicts."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in run.verdicts:
        # A case is called op[case], a layer "model: layer 3"; all else stands for itself.
        subject = re.split(r"\[|: layer ", verdict.subject)[0]
        groups.setdefault((verdict.lane, verdict.gate, subject), []).append(verdict)
    made = [Row(*key, tuple(verdicts)) for key, verdicts in groups.items()]
    return sorted(made, key=lambda row: SEVERITY.index(row.status))


@dataclass(frozen=True)
class Group:
    """Verdicts of one status that say the same sentence."""

    verdicts: tuple[Verdict, ...]

    @property
    def first(self) -> Verdict:
        """The one that speaks for all."""
        return self.verdicts[0]

    @property
    def names(self) -> str:
        """Gate and subjects, a few of them by name."""
        named = [verdict.subject for verdict in self.verdicts[:MOST_NAMES]]
        more = len(self.verdicts) - len(named)
        return f"{self.first.gate} {', '.join(named)}" + (f" and {more} more" if more else "")


def bad(run: Run) -> list[Group]:
    """What a person must look at, the worst first."""
    return _grouped(v for v in run.worst_first() if v.status not in (Status.PASS, Status.NOT_JUDGED))


def not_judged(run: Run) -> list[Group]:
    """What was not judged, one group a reason."""
    return _grouped(v for v in run.verdicts if v.status == Status.NOT_JUDGED)


def _grouped(verdicts: Iterable[Verdict]) -> list[Group]:
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.status, verdict.gate, verdict.sentence), []).append(verdict)
    return [Group(tuple(group)) for group in groups.values()]


def closing(run: Run, interrupted: bool = False) -> str:
    """The last line: what the whole run says."""
    counts = {status: sum(v.status == status for v in run.verdicts) for status in SEVERITY}
    said = [f"{count} {status}" for status, count in counts.items() if count]
    said += [f"{len(run.missing)} without a verdict"] if run.missing else []
    word = "INTERRUPTED" if interrupted else str(run.status).upper()
    seconds = run.environment.get("seconds")
    took = f" in {seconds:.0f} s" if seconds is not None else ""
    return f"{word}: {', '.join(said) or 'nothing was judged'}{took}"


def _used(verdict: Verdict) -> float:
    used = verdict.used
    # A NaN is worse than any number.
    return float("inf") if used is None or math.isnan(used) else used
