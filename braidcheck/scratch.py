"""Temporary folders. One whose process was killed is removed by the next process that makes one."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

PREFIX, SUFFIX = "braidcheck-", ".locked"


class Folder:
    """A temporary folder, removed by ``close``, or at the latest when this process ends; a context manager.

    It is locked while this process or one forked from it lives: the system ends the lock, however the process ends.
    """

    def __init__(self, purpose: str) -> None:
        _remove_left_over()
        draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{purpose}-"))
        lock = _open(draft)
        with suppress(OSError):  # a file system without locks: then nobody removes it but this process
            fcntl.flock(lock, fcntl.LOCK_EX)
        # It gets its name once it is locked, or another process would take it for left over.
        self.path = draft.rename(draft.with_name(draft.name[1:] + SUFFIX))
        self._removed = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove the folder. May be called again."""
        self._removed()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _remove(folder: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # at the end of a forked process it is still in use
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


@functools.cache  # once per process
def _remove_left_over() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):  # in use, or another user's
            lock = _open(folder)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
