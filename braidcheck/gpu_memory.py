"""Divides a GPU's memory among processes, by file locks (standard library only)."""

from __future__ import annotations

import fcntl
import itertools
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

POLL_S = 0.02


class GpuMemory:
    """The memory of one GPU in ``slots`` equal parts, one per worker; a process reserves as many as its work needs.

    The operating system drops the locks of a process that dies, so nothing stays reserved. A process that waits for
    several slots blocks later ones, so that large work does not starve.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        """``folder`` is specific to GPU and run, and shared by all its processes."""
        self.folder, self.slots = folder, slots
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def reserve(self, fraction: float = 0.0) -> Iterator[None]:
        """Wait for, then hold, this fraction of the memory (0 to 1), one slot at the least."""
        count = min(self.slots, max(1, math.ceil(fraction * self.slots)))
        with ExitStack() as held:
            with (self.folder / "queue").open("w") as queue:
                fcntl.flock(queue, fcntl.LOCK_EX)
                numbers = itertools.cycle(range(self.slots))
                while count:
                    if file := self._try(number := next(numbers)):
                        held.enter_context(file)
                        count -= 1
                    elif number == self.slots - 1:
                        time.sleep(POLL_S)
            yield

    def _try(self, number: int) -> IO[str] | None:
        """The open file of a slot, locked; None where another process or reservation holds it."""
        file = (self.folder / f"slot-{number}").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or its cause, means that the GPU ran out of memory."""
    while error is not None:
        text = str(error).lower()
        if type(error).__name__ == "OutOfMemoryError" or ("cuda" in text and "out of memory" in text):
            return True
        error = error.__cause__ or error.__context__
    return False


def context_is_broken() -> bool:
    """Whether this process's GPU context is broken: every later call in it would fail."""
    cuda = _cuda()
    if cuda is None:
        return False
    try:
        cuda.synchronize()
    except RuntimeError:
        return True
    return False


def free_cached_memory() -> None:
    """Release the memory of a finished item to the other processes on this GPU."""
    if cuda := _cuda():
        cuda.empty_cache()
        cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int]:
    """The peak memory of an item of this process, in MiB, as a metric; empty without a GPU."""
    return {"gpu_memory_mib": cuda.max_memory_allocated() >> 20} if (cuda := _cuda()) else {}


def _cuda() -> Any:
    """``torch.cuda`` where this process uses a GPU, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
