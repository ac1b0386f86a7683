"""What changed between two Runs: headroom and speed of each op and check, the largest loss first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from braidcheck.ci.history import hardware
from braidcheck.gates import GATES
from braidcheck.report.rows import LARGE, Row, headroom, limit_fraction, rows, summary_line
from braidcheck.result import Run, Status, Verdict

SAME = 0.005  # of the limit: smaller changes are not reported
SAME_SPEED = 0.01  # of the time or rate
TIMED = frozenset(gate.name for gate in GATES.values() if gate.timed)  # whose numbers depend on the machine


@dataclass(frozen=True)
class Change:
    """One row before and now; ``loss`` is the additional part of the limit used, for timings the relative slow-down,
    infinite if a verdict got worse."""

    before: Row
    now: Row
    loss: float

    @property
    def cells(self) -> tuple[str, ...]:
        """Gate, subject, verdict, number before, now, unit, headroom before, now, and change of the number."""
        old, new = _measured(self.before), _measured(self.now)
        verdict = str(self.now.status)
        if self.before.status != self.now.status:
            verdict = f"{self.before.status} -> {verdict}"
        ratio = new.value / old.value if old and new and old.value and new.value is not None else 1.0
        move = "" if ratio == 1.0 else f"{ratio - 1:+.1%}" if ratio < LARGE else f"x {ratio:.3g}"
        values = (f"{v.value:.4g}" if v else "" for v in (old, new))
        rooms = (headroom(v) if v else "" for v in (old, new))
        return (self.now.gate, self.now.subject, verdict, *values, new.unit if new else "", *rooms, move)


@dataclass(frozen=True)
class Comparison:
    """The changes, and what could not be compared."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


PAIRED = ("series", "verdict", "base, us", "change, us", "slower by", "interval")


def paired(run: Run) -> list[tuple[str, ...]]:
    """The paired gate's timings of change and base: one row of PAIRED per series, the slowest first."""
    timed = [v for v in run.verdicts if v.gate == "paired" and v.value is not None]
    return [_paired(verdict) for verdict in sorted(timed, key=lambda v: -(v.value or 0.0))]


def _paired(verdict: Verdict) -> tuple[str, ...]:
    base, change = (verdict.metrics.get(key) for key in ("base_us", "change_us"))
    times = (f"{time:.4g}" if isinstance(time, int | float) else "" for time in (base, change))
    bounds = verdict.metrics.get("interval") or ()
    between = " to ".join(f"{bound - 1:+.2%}" for bound in bounds if isinstance(bound, int | float))
    slower = "" if verdict.value is None else f"{verdict.value - 1:+.2%}"
    return (verdict.subject, str(verdict.status), *times, slower, between)


def beside(run: Run, base: Run) -> list[tuple[str, str, str]]:
    """Facts on two Runs: name, the base's value, this one's; without facts that neither has."""
    facts = [_facts(base), _facts(run)]
    return [
        (name, before, now)
        for (name, before), now in zip(facts[0].items(), facts[1].values(), strict=True)
        if before or now
    ]


def _facts(run: Run) -> dict[str, str]:
    seen = run.environment
    libraries = seen.get("libraries")
    libraries = libraries if isinstance(libraries, Mapping) else {}
    facts = {"verdict": summary_line(run), "commit": seen.get("commit"), "started": seen.get("started")}
    facts |= {"machine": hardware(seen) if seen else "", "driver": seen.get("driver"), "python": seen.get("python")}
    facts |= {name: libraries.get(name) for name in ("torch", "triton", "transformers")}
    return {name: str(value or "") for name, value in (facts | {"command": seen.get("command")}).items()}


def compare(run: Run, base: Run) -> Comparison:
    """Compare ``run`` with ``base`` row by row; timings of different machines are never compared."""
    machines = hardware(run.environment), hardware(base.environment)
    before, now = _rows(base), _rows(run)
    notes = []
    shared = [name for name in now if name in before]
    if machines[0] != machines[1]:
        shared = [name for name in shared if name[1] not in TIMED]
        notes.append(f"Speed is not compared: the base ran on {machines[1]}, this on {machines[0]}.")
    for word, own, other in (("New", now, before), ("Gone", before, now)):
        if names := [f"{gate} {subject}" for lane, gate, subject in own if (lane, gate, subject) not in other]:
            notes.append(f"{word}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}.")
    made = (Change(before[name], now[name], _loss(before[name], now[name])) for name in shared)
    moved = [change for change in made if abs(change.loss) > (SAME_SPEED if change.now.gate in TIMED else SAME)]
    return Comparison(tuple(sorted(moved, key=lambda change: -change.loss)), tuple(notes))


def _rows(run: Run) -> dict[tuple[str, str, str], Row]:
    """The rows by lane, gate and subject; machine-dependent gates have one row per shape."""
    apart = []
    for row in rows(run):
        shapes = row.verdicts if row.gate in TIMED else ()
        apart += [Row(row.lane, row.gate, verdict.subject, (verdict,)) for verdict in shapes] or [row]
    return {(row.lane, row.gate, row.subject): row for row in apart}


def _measured(row: Row) -> Verdict | None:
    """The verdict with the row's number; a timing has a number but no limit."""
    return row.worst or next((verdict for verdict in row.evaluated if verdict.value is not None), None)


def _loss(before: Row, now: Row) -> float:
    worse = now.status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.SKIPPED)
    if before.status != now.status:
        return float("inf") if worse else float("-inf")
    old, new = _measured(before), _measured(now)
    if old is None or new is None or old.value is None or new.value is None:
        return 0.0
    if now.gate in TIMED:
        slow, fast = (
            (old.value, new.value) if new.higher_is_better or new.unit.endswith("/s") else (new.value, old.value)
        )
        return slow / fast - 1 if fast else 0.0
    return 0.0 if limit_fraction(old) == limit_fraction(new) else limit_fraction(new) - limit_fraction(old)
