"""Prevents two gate runs from sharing a GPU, which would disturb timings and exhaust memory (standard library only)."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from braidcheck.errors import NotAvailable


@contextmanager
def claim(gpus: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Lock these GPUs (rows of ``environment.gpus()``) for this run. Raises NotAvailable if another run has one."""
    with ExitStack() as held:
        for gpu in gpus:
            # In the system's temporary folder: the other run has another --out, or another user.
            path = Path(tempfile.gettempdir(), f"braidcheck-gpu-{gpu.get('uuid') or gpu['id']}.lock")
            file = held.enter_context(open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NotAvailable(
                    f"GPU {gpu['id']} is in use by another gate run (process {file.read().strip() or 'unknown'}): wait "
                    "for it, or choose another GPU with CUDA_VISIBLE_DEVICES"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
