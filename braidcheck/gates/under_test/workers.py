"""Starts the processes in which users' functions run (standard library only)."""

from __future__ import annotations

import os

from braidcheck.isolation.process import ChildProcess

WORKER = "from braidcheck.gates.under_test.worker import main; main()"
# With more threads small calls take five times as much CPU: those wait for each other in a loop.
OF_CPU = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}


class Workers:
    """Processes for functions on ``device``, one at a time; the first is started at once, while the caller imports.

    ``file`` is where they write results.
    """

    def __init__(self, device: str) -> None:
        self.file = os.memfd_create("results")
        self._settings = OF_CPU if device == "cpu" else {}
        self._next: ChildProcess | None = self._new()

    def start(self) -> ChildProcess:
        """A fresh process."""
        process, self._next = self._next or self._new(), None
        return process

    def close(self) -> None:
        """End an unused process."""
        if self._next:
            self._next.close()
        os.close(self.file)

    def _new(self) -> ChildProcess:
        return ChildProcess(WORKER, (self.file,), self._settings)
