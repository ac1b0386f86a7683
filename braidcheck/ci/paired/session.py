"""Restarts the pair of workers and alternates between them until every series is decided or the time is up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from braidcheck.ci.paired.process import Answer, Process, WorkerError
from braidcheck.gates.paired import LOOKS, SeriesTimings, Turns, undecided

ROUNDS = 5  # rounds of each side in one restart
COUNTED = 2  # restarts of a series that count its host calls
SIDES = ("base", "change")


class Session:
    """Base and change on one GPU, one active at a time; a context manager that ends both workers."""

    def __init__(
        self, base: Process, change: Process, seed: int = 0, progress: Callable[[str], None] = lambda text: None
    ) -> None:
        """``seed`` orders the rounds; ``progress`` gets the state of the session."""
        self.sides = {"base": base, "change": change}
        self.random = random.Random(seed)
        self.progress = progress
        self.prepared: dict[str, set[str]] = {side: set() for side in SIDES}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.sides.values():
            process.close()

    def measure(
        self,
        series: Sequence[Mapping[str, Any]],
        seconds: float,
        goal: Callable[[SeriesTimings], bool] | None = None,
    ) -> dict[str, SeriesTimings]:
        """For each series (name, op, axes): its ``restarts`` with the seconds of each side's rounds, and ``trouble``.
        Ends after ``seconds``, or when no series needs more: ``goal(timings)`` says whether one does (by default until
        the gate decides).
        """
        until = time.monotonic() + seconds
        wants = goal or (lambda one: undecided(one, len(series)))
        timings: dict[str, SeriesTimings] = {one["name"]: {"restarts": [], "trouble": None} for one in series}
        restart = 0
        while time.monotonic() < until:
            left = [one for one in series if not timings[one["name"]]["trouble"] and wants(timings[one["name"]])]
            if not left:
                break
            restart += 1
            self.random.shuffle(left)
            self._restart(left, timings, until, f"restart {restart} of at most {LOOKS[-1]}, {len(left)} series")
        return timings

    def _restart(
        self, left: Sequence[Mapping[str, Any]], timings: dict[str, SeriesTimings], until: float, title: str
    ) -> None:
        """One pair of processes: all series one after another; an error ends the pair, and a new pair continues with
        the rest."""
        running = False
        for number, one in enumerate(left):
            if time.monotonic() > until:
                break
            self.progress(f"{title}: {number} done, now {one['name']}")
            try:
                if not running:
                    self._prepare([other for other in left[number:] if not timings[other["name"]]["trouble"]], timings)
                    self._fork()
                    running = True
                if not timings[one["name"]]["trouble"]:
                    timings[one["name"]]["restarts"].append(self._rounds(one, timings[one["name"]]))
            except WorkerError as trouble:
                timings[one["name"]]["trouble"] = {"side": trouble.side, "said": trouble.said}
                self._end()
                running = False
        if running:
            self._end()

    def _prepare(self, series: Sequence[Mapping[str, Any]], timings: dict[str, SeriesTimings]) -> None:
        """Have both sides make missing inputs; an error in one series affects only that series."""
        for one in series:
            if all(one["name"] in self.prepared[side] and self.sides[side].child for side in SIDES):
                continue
            try:
                answers = self._both("prepare", one)
                if answers["base"] != answers["change"]:
                    raise WorkerError("base", f"base and change take different inputs: {_difference(answers)}")
            except WorkerError as trouble:
                timings[one["name"]]["trouble"] = {"side": trouble.side, "said": trouble.said}
                continue
            for side in SIDES:
                self.prepared[side].add(one["name"])

    def _fork(self) -> None:
        for side in self._shuffled():  # in random order: the first may get better memory
            self.sides[side].ask("fork")

    def _rounds(self, one: Mapping[str, Any], timings: SeriesTimings) -> Turns:
        counted = len(timings["restarts"]) < COUNTED
        for side, placed in self._both("place", {**one, "counted": counted}).items():
            if counts := placed.get("counts"):
                least = timings.setdefault("counts", {}).setdefault(side, counts)
                # A library may make extra calls in one process, never fewer.
                timings["counts"][side] = {name: min(count, least[name]) for name, count in counts.items()}
        seconds: dict[str, list[float]] = {side: [] for side in SIDES}
        discarded = 0
        for _ in range(ROUNDS):
            for side in self._shuffled():
                reading = self.sides[side].ask("turn")
                seconds[side].append(reading["seconds"])
                discarded += reading.get("discarded", 0)
        return {"base": seconds["base"], "change": seconds["change"], "discarded": discarded}

    def _both(self, do: str, one: Mapping[str, Any]) -> dict[str, Answer]:
        """The answers of both sides to an untimed command, which run concurrently. Raises the first WorkerError, base
        first."""
        answers, troubles, sent = {}, [], []
        for side in SIDES:
            try:
                self.sides[side].send(do, one)
                sent.append(side)
            except WorkerError as trouble:
                troubles.append(trouble)
        for side in sent:
            try:
                answers[side] = self.sides[side].answer(do)
            except WorkerError as trouble:
                troubles.append(trouble)
        if troubles:
            raise min(troubles, key=lambda trouble: SIDES.index(trouble.side))
        return answers

    def _end(self) -> None:
        """End both children; a worker that fails to is replaced and makes its inputs again."""
        for side, process in self.sides.items():
            if process.forked:
                try:
                    process.ask("end")
                except WorkerError:
                    process.close()
            if not process.child:
                self.prepared[side].clear()

    def _shuffled(self) -> list[str]:
        return self.random.sample(SIDES, len(SIDES))


def _difference(answers: Mapping[str, Any]) -> str:
    base, change = (answers[side].get("inputs", {}) for side in SIDES)
    return ", ".join(sorted(name for name in base.keys() | change.keys() if base.get(name) != change.get(name)))
