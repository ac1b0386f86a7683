"""How a gate run ends or continues when one of its processes, the gate or a worker, ends early."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import Any

import pytest

from braidcheck.isolation import privacy
from braidcheck.processes import ENDING, wait_for_own_end
from braidcheck.result import Status

GRACE_S = 5.0  # within which the process of a lost worker should end
# Signals caused by the process itself; others come from outside.
OWN_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)

_ending: list[int] = []  # the signals that end this run


def end_with_gate(config: pytest.Config) -> None:
    """End the run when the gate process ends, for whatever reason; it then writes its results so far. The interrupt
    queues behind the reports in xdist's queue, so that none is lost. Only the first signal counts: the gate passes its
    own on as SIGINT, a job may send one to all its processes, and the kernel sends one for each ending thread of the
    gate. A second one would interrupt what writes the results.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    def end(number: int, frame: object) -> None:
        for sent in ENDING:
            signal.signal(sent, signal.SIG_IGN)
        _ending.append(number)
        session = config.pluginmanager.getplugin("dsession")
        if session is None:  # nothing has begun
            raise KeyboardInterrupt
        session.worker_gate_ended = interrupt
        # A signal handler must not write to the queue whose reader it interrupts.
        threading.Thread(target=session.queue.put, args=(("gate_ended", {}),), daemon=True).start()

    for sent in ENDING:
        if signal.getsignal(sent) is not signal.SIG_IGN:  # by nohup
            signal.signal(sent, end)
    privacy.end_with_parent(signal.SIGTERM)


def signal_of(node: Any) -> signal.Signals | None:
    """The signal that ended a worker's process, if any."""
    process: Any = getattr(getattr(node.gateway, "_io", None), "popen", None)  # execnet has no public API for it
    with suppress(AttributeError, OSError, ValueError, TimeoutExpired):
        code = process.wait(GRACE_S)
        return signal.Signals(-code) if code < 0 else None
    return None


def ends_with_run(end: signal.Signals | None) -> bool:
    """Whether this run is ended together with a worker that ``end`` ended: then the worker's item has no verdict."""
    if end and not _ending:
        wait_for_own_end(-end)
    return end in ENDING and bool(_ending)


def verdict_on(end: signal.Signals | None) -> tuple[Status, str]:
    """Status and message for the item that a worker was running when it died; ``end`` is the signal that ended it."""
    name = f" ({end.name})" if end else ""
    status = Status.FAIL if end in OWN_FAULTS else Status.ERROR
    return status, f"The worker process died{name} while running this check; see pytest.log."
