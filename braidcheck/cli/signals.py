"""Signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_as_interrupt(once: bool = False) -> Iterator[None]:
    """A CI that cancels sends SIGTERM, and one that starts us in the background has SIGINT ignored: both are Ctrl-C.

    With ``once`` those after the first are ignored: who presses Ctrl-C twice leaves nothing half-cleaned behind. A
    handler is not inherited by the processes started within, as an ignored signal would be.
    """

    def interrupt(*_: object) -> None:
        if once:
            for number in before:
                signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
