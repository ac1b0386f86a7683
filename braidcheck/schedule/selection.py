"""The pytest plugin of a worker that selects and orders its items: for a shard, or within a time budget."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from itertools import accumulate
from pathlib import Path

import pytest

from braidcheck.result import Status, Verdict, write_atomically
from braidcheck.schedule.budget import Budget, order
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.shards import Shard, partition
from braidcheck.settings import Settings

SKIPPED = pytest.StashKey[Verdict]()  # of an item that did not fit into the budget
SUITE = "suite.json"  # the ids of all shards' items
# Assumed number of workers for correctness while timing has the GPU to itself. A constant, so that all machines compute
# the same shards.
WORKERS_PER_GPU = 16


def longest_first(seconds: Mapping[str, float]) -> list[str]:
    """The names of units in the order in which they start: by the seconds that the cases of one op have left from this
    one on, longest case first; units that are alike start in the order given.

    So no long one starts last, and cases of one op start apart: workers that start them together would each compile the
    same kernels.
    """
    groups: dict[str, list[str]] = {}
    for unit in sorted(seconds, key=lambda unit: -seconds[unit]):
        groups.setdefault(unit.split("[")[0], []).append(unit)
    left: dict[str, float] = {}
    for units in groups.values():
        left |= zip(units[::-1], accumulate(seconds[unit] for unit in units[::-1]), strict=True)
    return sorted(seconds, key=lambda unit: -left[unit])


class Selection:
    """Every worker finds the same items in the same order, as xdist wants it, and so does every machine.

    ``name`` gives gate and subject of a node id, ``unit`` the unit of work of those two. The units in ``alone`` are of
    shard 1, and so are the gates in ``later``, which another phase runs.
    """

    def __init__(
        self,
        settings: Settings,
        name: Callable[[str], tuple[str, str]],
        unit: Callable[[str, str], str],
        alone: Collection[str],
        later: tuple[str, ...],
    ) -> None:
        self.settings, self.name, self.unit, self.alone, self.later = settings, name, unit, alone, later
        self.durations = Durations.read(settings.durations)
        self.budget = Budget(settings.deadline) if settings.deadline else None
        self.setup_seconds = 0.0

    @pytest.hookimpl(trylast=True)  # after -k and --op: only selected items are divided
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep this shard's part, longest first; with a budget, most informative first."""
        units: dict[str, list[pytest.Item]] = {}
        for item in items:
            units.setdefault(self.unit(*self.name(item.nodeid)), []).append(item)
        seconds = {unit: sum(self._usual(item.nodeid) for item in units[unit]) for unit in units}
        if self.settings.shard:
            ids = sorted(self._id(item.nodeid) for item in items)
            write_atomically(Path(self.settings.out) / SUITE, json.dumps(ids))
            shard = Shard.parse(self.settings.shard)
            later = 0.0 if self.settings.ops or config.getoption("keyword") else self._seconds_later()
            shard_of = partition(seconds, shard.count, self.alone, later * WORKERS_PER_GPU)
            units = {unit: units[unit] for unit in units if shard_of[unit] == shard.index}
        if self.budget:
            self.budget.seconds = seconds
            named = {unit: [self.name(item.nodeid) for item in units[unit]] for unit in units}
            units = {unit: units[unit] for unit in order(named, seconds, self.settings.changed)}
        else:
            units = {unit: units[unit] for unit in longest_first({unit: seconds[unit] for unit in units})}
        items[:] = [item for members in units.values() for item in members]
        # Items that have the GPU to themselves come last, so that nothing waits for them.
        items.sort(key=lambda item: item.get_closest_marker("exclusive_gpu") is not None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip items that do not fit into the budget, before a fixture measures anything."""
        gate, subject = self.name(item.nodeid)
        if self.budget and not self.budget.fits(self.unit(gate, subject), time.time()):
            message = f"skipped: the budget of {self.settings.budget:g} minutes has no time left for it"
            metrics = {"budget": self.settings.budget}
            item.stash[SKIPPED] = Verdict(gate, subject, Status.SKIPPED, message, metrics=metrics)
            pytest.skip(message)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Learn this worker's speed."""
        if report.when == "setup":
            self.setup_seconds = report.duration
        elif report.when == "call" and self.budget:
            self.budget.took(self._usual(report.nodeid), self.setup_seconds + report.duration)

    def _id(self, nodeid: str) -> str:
        return "/".join((self.settings.lane, *self.name(nodeid)))

    def _usual(self, nodeid: str) -> float:
        return self.durations.of(self._id(nodeid))

    def _seconds_later(self) -> float:
        return self.durations.of_gates(self.settings.lane, self.later) if self.settings.lane == "gpu" else 0.0
