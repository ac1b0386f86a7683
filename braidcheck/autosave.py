"""Saves what a run has so far, so that a killed run does not lose all of it."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL_S = 5.0


class Autosave:
    """Calls ``save`` at most once in ``INTERVAL_S`` seconds, the first time at once."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._saved_at = float("-inf")

    def update(self) -> None:
        """Save if it is time; to be called after each result."""
        if time.monotonic() - self._saved_at >= INTERVAL_S:
            self._save()
            self._saved_at = time.monotonic()
