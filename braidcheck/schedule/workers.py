"""Distributes a run's items to its workers, and redistributes the unfinished items of a dead worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class Scheduler(LoadScopeScheduling):
    """A unit of work is an item or, if items share a measurement, a gate; an item that killed a worker is not run
    again.

    xdist's own groups (``--dist loadgroup``) silently do nothing under pytest 9.2.
    """

    def __init__(self, config: pytest.Config, log: Any, scope: Callable[[str], str], given_back: Path) -> None:
        """``scope`` names an item's unit of work; workers note in ``given_back`` what they had no GPU memory for."""
        super().__init__(config, log)
        self.scope, self.given_back, self.taken_back = scope, given_back, set[str]()

    def _split_scope(self, nodeid: str) -> str:
        return self.scope(nodeid)

    def remove_node(self, node: Any) -> str | None:
        """Remove ``node`` and redistribute its untouched work; returns the item that it died on, or None."""
        left = {scope: unit for scope, unit in self.assigned_work[node].items() if not all(unit.values())}
        dying = next(iter(left), None)
        crashed_item = next(nodeid for nodeid, done in left[dying].items() if not done) if dying else None
        if self._is_given_back(crashed_item):
            crashed_item = None
        elif dying:
            left.pop(dying)
        # A finished unit must not go back either: xdist would hand it out and wait for it forever.
        self.assigned_work[node] = left
        super().remove_node(node)
        return crashed_item

    def _is_given_back(self, nodeid: str | None) -> bool:
        """Whether the item's worker ended because the GPU had no memory left; each item may do so once."""
        if nodeid is None or nodeid in self.taken_back or nodeid not in lines(self.given_back):
            return False
        self.taken_back.add(nodeid)
        return True

    def _assign_work_unit(self, node: Any) -> None:
        """Give ``node`` the next unit; if it has died and this run does not know yet, the unit stays for another."""
        scope, unit = next(iter(self.workqueue.items()))
        try:
            super()._assign_work_unit(node)
        except OSError:  # the channel to it is closed
            del self.assigned_work[node][scope]
            self.workqueue[scope] = unit
            self.workqueue.move_to_end(scope, last=False)

    def _reschedule(self, node: Any) -> None:
        if node not in self.registered_collections:  # a replacement that does not know its items yet
            return
        super()._reschedule(node)
        # A worker starts an item once it knows the next one, or that there is none; xdist gives a replacement too few.
        if self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)


def lines(file: Path) -> list[str]:
    """The lines of a file that may not exist yet."""
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
