"""Progress on stderr: a live bar on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar


class State(NamedTuple):
    """Progress of some work: steps done, total steps, current activity, time left if known, and ``news``, lines that
    are printed once, immediately."""

    done: int
    total: int
    text: str
    left: str | None = None  # None where only the steps tell; then they are counted
    news: tuple[str, ...] = ()


PLAIN_SECONDS = 15.0  # between two lines without a terminal
NEWS_SECONDS = 1.0  # between two checks for news there
LIVE_SECONDS = 0.5
MIN_DONE_FRACTION = 0.1  # of all steps; before that the time left would be a guess


class Progress:
    """Shows progress: ``progress(text)`` or ``progress(text, done, total)``, used as a context manager. A thread
    repeats the last state during long steps. If other processes do the work, ``look`` returns the current state.
    """

    def __init__(self, title: str, look: Callable[[], State] | None = None, stream: Any = None) -> None:
        self.title = title
        self.state = State(0, 0, "")
        self.look = look or (lambda: self.state)
        self.console = Console(file=stream or sys.stderr, soft_wrap=True, highlight=False)
        self.began = time.monotonic()
        self._said: tuple[int, int, str] | None = None
        self._news: set[str] = set()  # that was said
        self._clocks: dict[int, tuple[int, float]] = {}  # of each counter: where it stands, and since when
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        """``text`` names what is being done now; ``done`` of ``total`` steps are over."""
        self.state = State(done, total, text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        if not self.console.is_terminal:
            last = time.monotonic()
            while not self._ended.wait(min(NEWS_SECONDS, PLAIN_SECONDS)):
                now = self.look()
                self._say_news(now)
                if time.monotonic() - last >= PLAIN_SECONDS:
                    last = time.monotonic()
                    self._say(now)
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn())
        with Bar(*columns, TextColumn("{task.fields[time]}"), console=self.console, transient=True) as bar:
            task = bar.add_task(self.title, total=None, time="")
            while not self._ended.wait(LIVE_SECONDS):
                done, total, text, *_ = now = self.look()
                self._say_news(now)
                described = escape(f"{self.title}: {text}" if text else self.title)
                bar.update(task, completed=done, total=total or None, description=described, time=self._time(now))

    def _say_news(self, now: State) -> None:
        for line in now.news:
            if line not in self._news:
                self._news.add(line)
                self.console.print(line, markup=False)

    def _say(self, now: State) -> None:
        done, total, text, *_ = now
        words = [f"{self.title}:"]
        words += [f"{done}/{total}"] if total else []
        words += ["still"] if now[:3] == self._said else []
        words += [text, f"({self._time(now)})"]
        self.console.print(" ".join(word for word in words if word), markup=False)
        self._said = now[:3]

    def _time(self, state: State) -> str:
        """Time taken and, if it can be estimated, the time left."""
        taken = time.monotonic() - self.began
        said = state.left
        if said is None and (left := time_left(state[:3], taken, self._clocks)) is not None:
            said = f"about {clock(max(left, 1.0))} left"
        return f"{clock(taken)}, {said}" if said else clock(taken)


def time_left(state: tuple[int, int, str], taken: float, clocks: dict[int, tuple[int, float]]) -> float | None:
    """Seconds left, by what is done of all steps and of what a step counts itself ("token 3 of 24"): the later of the
    two ends, since both go on at once. None while too little is done to count by, and where that end has passed.

    ``taken`` seconds were taken so far; ``clocks`` keeps, from call to call, when each counter last moved.
    """
    done, total, text = state
    counted = [(done, total)] + [(int(at) - 1, int(of)) for at, of in re.findall(r"\b(\d+) of (\d+)\b", text)]
    left = []
    for number, (done, total) in enumerate(counted):
        if clocks.get(number, (None,))[0] != done:
            clocks[number] = (done, taken)
        if total and done < MIN_DONE_FRACTION * total:
            return None
        if total:
            since = clocks[number][1]
            left.append(since * (total - done) / done - (taken - since))
    return max(left) if left and max(left) > 0 else None


def clock(seconds: float) -> str:
    """Seconds as text: "95 s", from 120 on in minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
