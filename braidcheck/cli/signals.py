"""Signals that end a command: the first is an interrupt, the others wait for what it cleans up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM raises KeyboardInterrupt, and those after it are ignored: who presses Ctrl-C
    twice, or a CI that cancels, leaves nothing half-cleaned behind."""

    def interrupt(*_: object) -> None:
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
