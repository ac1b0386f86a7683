"""How a gate run ends, or goes on, when one of its processes ends early: the gate itself, or a worker."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import Any

import pytest

from braidcheck.isolation import privacy
from braidcheck.result import Status

GRACE_S = 5.0  # in which the process of a worker that is gone is expected to end
# A process ends of these by what it computes itself; by others, where something outside of it ends it.
OWN_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


def end_with_gate(config: pytest.Config) -> None:
    """Let the run end when the gate does, however that ends: it then writes what it has.

    The interrupt waits in xdist's queue behind the reports that have come, so that none is lost halfway. The kernel
    sends a signal for each thread of the gate that ends: the first one counts.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        session = config.pluginmanager.getplugin("dsession")
        if session is None:  # nothing has begun
            raise KeyboardInterrupt
        session.worker_gate_ended = interrupt
        # A queue must not be written to by what interrupts its own reader.
        threading.Thread(target=session.queue.put, args=(("gate_ended", {}),), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    privacy.end_with_parent(signal.SIGTERM)


def signal_of(node: Any) -> signal.Signals | None:
    """The signal that ended the process of a worker, where one did."""
    process: Any = getattr(getattr(node.gateway, "_io", None), "popen", None)  # execnet has no public way to it
    with suppress(AttributeError, OSError, ValueError, TimeoutExpired):
        code = process.wait(GRACE_S)
        return signal.Signals(-code) if code < 0 else None
    return None


def verdict_on(end: signal.Signals | None) -> tuple[Status, str]:
    """Status and message for the item that a worker was running when it died; ``end`` is the signal that ended it."""
    name = f" ({end.name})" if end else ""
    status = Status.FAIL if end in OWN_FAULTS else Status.ERROR
    return status, f"The worker process died{name} while running this check; see pytest.log."
