"""Time budgets: the order of a run that may not complete, and which items still fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from braidcheck.mutants import changed
from braidcheck.schedule.estimate import slowdown

# Gates by the mutants that they kill first per second of CPU time (docs/results); the others follow.
DETECTORS = ("accuracy", "loader", "edges", "engine", "fence", "coherence")
MODEL = "model"  # in place of an op: the model around the kernels
OF_MODEL = ("engine", "step_races", "loader", "coherence", "layers")


def touched_since(base: str) -> tuple[str, ...]:
    """What differs from the commit ``base``: names of ops, and MODEL; empty without a base."""
    files = changed.files(base) if base else []
    model = any(Path(file).parts[1:2] == ("models",) for file in files)
    return (*changed.touched(files), *((MODEL,) if model else ()))


def order(
    units: Mapping[str, Collection[tuple[str, str]]], seconds: Mapping[str, float], touched: Collection[str]
) -> list[str]:
    """The names of ``units`` (each a collection of gate and subject), most informative first.

    First what the change ``touched`` (names of ops, and MODEL), then by the gates that catch most, then the quickest.
    """

    def rank(unit: str) -> tuple[bool, int, float, str]:
        gate = next(iter(units[unit]))[0]
        detector = DETECTORS.index(gate) if gate in DETECTORS else len(DETECTORS)
        return not _is_touched(units[unit], touched), detector, seconds[unit], unit

    return sorted(units, key=rank)


def _is_touched(items: Iterable[tuple[str, str]], touched: Collection[str]) -> bool:
    return any(subject.split("[")[0] in touched or (MODEL in touched and gate in OF_MODEL) for gate, subject in items)


class Budget:
    """Decides which units of work still fit before ``deadline`` (seconds since 1970), at this worker's speed."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.seconds: dict[str, float] = {}  # usual seconds of each unit
        self._fits: dict[str, bool] = {}
        self._measured: list[tuple[float, float]] = []

    def fits(self, unit: str, now: float) -> bool:
        """Whether ``unit`` would be done by the deadline. Decided once: a unit that has begun is finished."""
        if unit not in self._fits:
            self._fits[unit] = now + slowdown(self._measured) * self.seconds[unit] <= self.deadline
        return self._fits[unit]

    def took(self, usual: float, measured: float) -> None:
        """Record that an item that usually takes ``usual`` seconds took ``measured``."""
        self._measured.append((usual, measured))
