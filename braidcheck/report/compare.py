"""What moved between two Runs: headroom and speed of each op and check, the greatest loss first."""

from __future__ import annotations

from dataclasses import dataclass

from braidcheck.history import hardware
from braidcheck.report.rows import Row, headroom, rows, used
from braidcheck.results import Run, Status

SAME = 0.005  # of the limit: a smaller move is not said
SAME_SPEED = 0.01  # of the time or rate
CLOCKED = ("speed", "paired")  # gates whose numbers depend on the machine


@dataclass(frozen=True)
class Change:
    """One row before and now; ``loss`` is the part of the limit that is used more than before, of timings the part by
    which they got slower, infinite where a verdict got worse."""

    before: Row
    now: Row
    loss: float

    @property
    def cells(self) -> tuple[str, ...]:
        """Gate, subject, verdict, number before, now, unit, headroom before, now, and change of the number."""
        old, new = self.before.worst, self.now.worst
        verdict = str(self.now.status)
        if self.before.status != self.now.status:
            verdict = f"{self.before.status} -> {verdict}"
        move = ""
        if old and new and old.value and new.value is not None:
            move = f"{new.value / old.value - 1:+.1%}"
        values = (f"{v.value:.4g}" if v else "" for v in (old, new))
        unit = new.unit if new else ""
        rooms = (headroom(v) if v else "" for v in (old, new))
        return (self.now.gate, self.now.subject, verdict, *values, unit, *rooms, move)


@dataclass(frozen=True)
class Comparison:
    """What moved, and what could not be compared."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def compare(run: Run, base: Run) -> Comparison:
    """``run`` beside ``base``, row by row; timings of different machines are never compared."""
    machines = hardware(run.environment), hardware(base.environment)
    before = {(row.lane, row.gate, row.subject): row for row in rows(base)}
    now = {(row.lane, row.gate, row.subject): row for row in rows(run)}
    notes = []
    shared = [name for name in now if name in before]
    if machines[0] != machines[1]:
        shared = [name for name in shared if name[1] not in CLOCKED]
        notes.append(f"Speed is not compared: the base ran on {machines[1]}, this on {machines[0]}.")
    for word, own, other in (("New", now, before), ("Gone", before, now)):
        if names := [f"{gate} {subject}" for lane, gate, subject in own if (lane, gate, subject) not in other]:
            notes.append(f"{word}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}.")
    made = (Change(before[name], now[name], _loss(before[name], now[name])) for name in shared)
    moved = [change for change in made if abs(change.loss) > (SAME_SPEED if change.now.gate in CLOCKED else SAME)]
    return Comparison(tuple(sorted(moved, key=lambda change: -change.loss)), tuple(notes))


def _loss(before: Row, now: Row) -> float:
    worse = now.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.NOT_JUDGED)
    if before.status != now.status:
        return float("inf") if worse else float("-inf")
    if before.worst is None or now.worst is None:
        return 0.0
    old, new = (used(row.worst) for row in (before, now))
    if now.gate in CLOCKED:
        old, new = (row.worst.value or 0.0 for row in (before, now))
        if now.worst.floor:
            old, new = new, old
        return new / old - 1 if old else 0.0
    return 0.0 if old == new else new - old
