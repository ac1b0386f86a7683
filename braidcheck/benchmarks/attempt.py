"""Runs code that may fail or hang: a time limit, and an exception as one line."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after so many seconds. Must be called in the main thread."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"it was not ready within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def first_line(error: BaseException) -> str:
    """An exception as one line: the timeout if that caused it, else its type and first line."""
    late = next((one for one in _causes(error) if isinstance(one, TimeoutError)), None)
    return str(late) if late else f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
