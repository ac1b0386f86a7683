"""Threads that work through one queue; each starts a worker process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from braidcheck.mutants.mutant import Mutant
from braidcheck.processes import end_group


def side_by_side(count: int, work: Callable[[], None], todo: queue.SimpleQueue[Mutant]) -> None:
    """Run ``work`` in threads until ``todo`` is empty. An interrupt empties it, and ends the worker processes."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        while next_of(todo):
            pass
        end_group()  # those that a thread has started since the signal
        for thread in threads:
            thread.join()
        raise


def next_of(todo: queue.SimpleQueue[Mutant]) -> Mutant | None:
    """The next mutant; None if there is none left."""
    try:
        return todo.get_nowait()
    except queue.Empty:
        return None
