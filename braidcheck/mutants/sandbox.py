"""A forked child for each piece of work: it may crash or hang, and reports its progress."""

from __future__ import annotations

import faulthandler
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from braidcheck import external_ops
from braidcheck.mutants.evidence import Result

Say = Callable[[Result], None]

TIMEOUT_FACTOR = 5


def enter(overlay: Path) -> None:
    """Make this process import the package, and external ops, from ``overlay``; objects of the old ones stay usable."""
    mutated = {"braidcheck", *external_ops.tops()}
    for name in [name for name in sys.modules if name.split(".")[0] in mutated]:
        del sys.modules[name]
    sys.path.insert(0, str(overlay))
    sys.dont_write_bytecode = True  # the overlays' compiled files are links to the snapshot's


def in_child(work: Callable[[Say], Result], limit: float) -> Result:
    """The result of ``work`` in a forked child; if it dies or hangs the outcome is crash or timeout. The limit is in
    seconds of CPU time, since a busy machine is no hang; an idle child is killed after TIMEOUT_FACTOR times as long.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _run_and_exit(work, writer, math.ceil(limit))
    os.close(writer)
    lines, in_time = _read(reader, TIMEOUT_FACTOR * limit)
    os.close(reader)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    last: Result = json.loads(lines[-1]) if lines else {}
    if "outcome" in last:
        return last
    how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    ended: Result = {"outcome": "crash", "said": f"the process died of {how}"}
    if not in_time or how == "SIGXCPU":
        ended = {"outcome": "timeout", "said": f"still running after {limit:.0f} s"}
    return {**last, **ended, "seconds": {}}


def _run_and_exit(work: Callable[[Say], Result], writer: int, limit: int) -> None:
    def say(row: Result) -> None:
        os.write(writer, json.dumps(row).encode() + b"\n")

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    faulthandler.disable()  # its trace would mix with pytest's output
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    try:
        say(work(say))
    except BaseException as error:
        say({"outcome": "error", "said": f"{type(error).__name__}: {error}", "seconds": {}})
    os._exit(0)  # no clean-up: memory that a mutant has corrupted must not be used


def _read(reader: int, limit: float) -> tuple[list[str], bool]:
    """The lines that the child writes, and whether it ended in time."""
    parts: list[bytes] = []
    end = time.monotonic() + limit
    while select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts).decode().splitlines(), True
        parts.append(part)
    return b"".join(parts).decode().splitlines(), False
