"""Signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_as_interrupt(once: bool = False) -> Iterator[None]:
    """Treat SIGTERM, which CI sends to cancel, as Ctrl-C, and handle SIGINT even if it was ignored, as for background
    jobs. With ``once`` later signals are ignored, so that pressing Ctrl-C twice does not interrupt the clean-up. Unlike
    an ignored signal, a handler is not inherited by child processes.
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
