"""The signals that end a command, and the processes that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# Ctrl-C; a cancelled job, or the end of its time; a terminal that closes.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ORDER_S = 1.0  # seconds in which all processes of a job get the signal that ends it, in any order
# Seconds in which an interrupted run may still write what it has. GitHub kills 10 s after the first signal, Slurm and
# Kubernetes after 30 s, and then the reports must be written.
SHUTDOWN_GRACE_S = 5


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt at the first signal that ends a command, and end this process's group below it, as a
    terminal does at Ctrl-C. Later signals are ignored: CI systems send several, and none may interrupt the clean-up.

    SIGINT counts even if it was ignored, as in a shell's background jobs; SIGHUP does not, so that nohup works. Unlike
    an ignored signal, a handler is not inherited by the programs that this process starts.
    """
    shown = sys.unraisablehook
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]

    def arm() -> None:
        for number in ENDING:
            if number not in ignored or number == signal.SIGINT:
                signal.signal(number, interrupt)

    def interrupt(*_: object) -> None:
        ignore_signals()
        end_group()
        raise KeyboardInterrupt

    def lost(what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:  # Python drops what a finalizer raises: the next signal must count
            arm()
        else:
            shown(what)

    sys.unraisablehook = lost
    arm()


def ignore_signals() -> None:
    """Let no signal that ends a command change how it ends."""
    for number in ENDING:
        signal.signal(number, lambda *_: None)


def end_group() -> None:
    """Send SIGTERM to the descendants of this process that are in its process group. Others have their own ends."""
    if os.name != "posix":
        return
    group = os.getpgrp()
    for process in descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process) == group:
                os.kill(process, signal.SIGTERM)


def attend(command: list[str], env: dict[str, str], **streams: Any) -> tuple[bool, int]:
    """Run a child process and shut it down in order on Ctrl-C; whether it was interrupted, and its exit code."""
    child: subprocess.Popen[bytes] = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, process_group=0, **streams
    )
    return _wait(child), child.returncode


def _wait(child: subprocess.Popen[bytes]) -> bool:
    """Wait for ``child``; whether the wait was interrupted. An interrupted child gets time to write its results, then
    is killed."""
    try:
        child.wait()
        return False
    except KeyboardInterrupt:
        _send(child, signal.SIGINT)  # its workers too, or they would finish their current items
    with suppress(subprocess.TimeoutExpired):
        child.wait(SHUTDOWN_GRACE_S)
    _send(child, signal.SIGKILL)  # its workers too, if they hang
    child.wait()
    return True


def _send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the child's process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def wait_for_own_end(code: int) -> None:
    """Wait where a child ended by a signal (its return ``code`` is the negative number) that may have been sent to all
    processes of a job: this one's own then raises KeyboardInterrupt, and the child did nothing wrong."""
    if -code in ENDING:
        time.sleep(ORDER_S)


def descendants(process: int) -> Iterator[int]:
    """The children of a process, their children, and so on; none where the system does not say (on Linux)."""
    waiting = [process]
    while waiting:
        with suppress(OSError, ValueError):
            for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                pids = [int(number) for number in children.read_text().split()]
                waiting += pids
                yield from pids
