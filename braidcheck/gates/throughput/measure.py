"""Times prompts and answers as a caller sees them, in rounds that alternate with another engine. The clock is the
caller's, not that of the engine's process, and timed answers are checked as on any surface.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.gates.paired import LOOKS, Limits, Turns, undecided
from braidcheck.gates.surfaces.requests import prompt_of
from braidcheck.gates.surfaces.truth import Circumstances, Request, Text, prefill_outcome, tokens_outcome
from braidcheck.gates.throughput import AGAINST_ENGINE, AGAINST_RUN
from braidcheck.gates.throughput.evidence import Evidence, Series

CONTEXTS, ANSWERED = (32, 512, 2000), (32, 512)  # tokens of the prompts, and of those that are answered
BATCH = 8
ANSWER = 16  # tokens
TURNS = 3  # of each side in a round
ALONE_ROUNDS = 20  # without anything to compare with: as many as a later Run compares

Clock = Callable[[], float]


@dataclass(frozen=True)
class Work:
    """One kind of request: ``count`` tokens are generated after the prompts, none for prefill."""

    batch: int
    context: int
    count: int = 0

    @property
    def name(self) -> str:
        """The name in verdicts."""
        batch = f", batch of {self.batch}" if self.batch > 1 else ""
        return f"{'decode' if self.count else 'prefill'}{batch}, {'after ' if self.count else ''}{self.context} tokens"

    @property
    def method(self) -> str:
        """Of the engine."""
        return ("generate" if self.count else "prefill") + ("_batch" if self.batch > 1 else "")

    def missing(self, client: Client, texts: Sequence[Text], longest: int) -> str:
        """Why the engine or the text cannot be used; empty if both can."""
        if self.method not in client.methods:
            return f"the engine has no {self.method}"
        if 0 < client.claims["max_batch"] < self.batch:
            return f"the engine takes {client.claims['max_batch']} prompts at most"
        room = min(longest - self.count, len(texts[-1]))
        return f"model, engine or text end at {room} tokens" if room < self.context else ""

    def requests(self, texts: Sequence[Text]) -> list[Request]:
        """The prompts, with the tokens that HF is sure to answer."""
        return [prompt_of(texts, self.context, turn, ANSWER) for turn in range(self.batch)]


WORKS = (
    *(Work(1, context) for context in CONTEXTS),
    Work(BATCH, CONTEXTS[0]),
    *(Work(1, context, ANSWER) for context in ANSWERED),
    Work(BATCH, CONTEXTS[0], ANSWER),
)
NAMES = tuple(work.name for work in WORKS)


class Side:
    """One engine at one kind of request: its untimed answers, and what was wrong."""

    def __init__(self, client: Client, work: Work, requests: Sequence[Request]) -> None:
        self.client, self.work, self.requests = client, work, requests
        self.wrong = ""
        self._lengths: list[int] = []
        self.turn(lambda: 0.0)  # warm-up; kept for comparison

    @property
    def tokens(self) -> int:
        """Counted tokens of one call: of the prompts, or of the answers after their first token."""
        lengths = [length - 1 for length in self._lengths] if self.work.count else [r.length for r in self.requests]
        return max(1, sum(lengths))

    def turn(self, clock: Clock) -> float:
        """Seconds of one call; its answers are checked after the clock has stopped."""
        prompts = [request.ids for request in self.requests]
        prompt = prompts if self.work.batch > 1 else prompts[0]
        more = [self.work.count] if self.work.count else [[-1] if self.work.batch > 1 else [self.work.context - 1]]
        method = getattr(self.client, self.work.method)
        began = clock()
        got = method(prompt, *more)
        seconds = clock() - began
        self._check(got if self.work.batch > 1 else [got])
        return seconds

    def _check(self, answers: Sequence[Any]) -> None:
        outcomes = [self._outcome(*pair) for pair in zip(self.requests, answers, strict=True)]
        self.wrong = self.wrong or next(filter(None, outcomes), "")
        if self.work.count:
            lengths = [len(answer) for answer in answers]
            if self._lengths and lengths != self._lengths:
                self.wrong = self.wrong or f"{sum(lengths)} tokens where it gave {sum(self._lengths)} untimed"
            self._lengths = self._lengths or lengths

    def _outcome(self, request: Request, answer: Any) -> str:
        if self.work.count:
            return tokens_outcome(request, answer, self.work.count, Circumstances())["what"]
        return prefill_outcome(request, answer, request.length - 1, Circumstances())["what"]


def measure_throughput(
    client: Client, base: Client | None, earlier: Mapping[str, list[float]], texts: Sequence[Text], longest: int,
    evidence: Evidence, seconds: float, say: Callable[[str], None] = lambda text: None,
    clock: Clock = time.perf_counter,
) -> None:  # fmt: skip
    """Add to ``evidence`` each series' rounds, for at most ``seconds`` or until all are decided; against ``base``, or
    against the seconds of an ``earlier`` Run by series.
    """
    until, draw = clock() + seconds, random.Random(0)
    limits = AGAINST_ENGINE if base else AGAINST_RUN
    running: list[tuple[Series, list[Side]]] = []
    for work in WORKS:
        made, sides = _prepared(work, client, base, texts, longest)
        evidence["series"].append(made)
        if sides:
            running.append((made, sides))
    number = 0
    while clock() < until and running:
        number += 1
        say(f"throughput: round {number} of at most {LOOKS[-1] if base or earlier else ALONE_ROUNDS}")
        for made, sides in running:
            _round(made, sides, earlier.get(made["name"], []), draw, clock)
        running = [one for one in running if _needs_more(one[0], base is not None, earlier, limits)]


def _needs_more(made: Series, paired: bool, earlier: Mapping[str, list[float]], limits: Limits) -> bool:
    rounds = len(made["found"]["restarts"])
    if made["error"] or made["wrong"]:
        return False
    if paired:
        return undecided(made["found"], len(WORKS), limits)
    old = len(earlier.get(made["name"], ()))
    return rounds < (min(old, LOOKS[-1]) or ALONE_ROUNDS) and (not old or undecided(made["found"], len(WORKS), limits))


def _prepared(
    work: Work, client: Client, base: Client | None, texts: Sequence[Text], longest: int
) -> tuple[Series, list[Side]]:
    prefill = Work(work.batch, work.context).name if work.count else ""
    made: Series = {
        "name": work.name, "tokens": 0, "prefill": prefill, "found": {"restarts": [], "trouble": None}, "wrong": "",
        "base_wrong": "", "skipped": work.missing(client, texts, longest), "error": "",
    }  # fmt: skip
    if not made["skipped"] and base and (lack := work.missing(base, texts, longest)):
        made["skipped"] = f"{lack} (the base)"
    if made["skipped"]:
        return made, []
    try:
        sides = [Side(one, work, work.requests(texts)) for one in (client, base) if one]
    except EngineError as how:
        made["error"] = str(how)
        return made, []
    made["tokens"] = sides[0].tokens
    return made, sides


def _round(made: Series, sides: Sequence[Side], earlier: Sequence[float], draw: random.Random, clock: Clock) -> None:
    """TURNS calls of each side, in random order; or paired with a round of an earlier Run."""
    seconds: list[list[float]] = [[] for _ in sides]
    try:
        for _ in range(TURNS):
            for side in draw.sample(range(len(sides)), len(sides)):
                seconds[side].append(sides[side].turn(clock))
    except EngineError as how:
        made["error"] = str(how)
        return
    rounds = made["found"]["restarts"]
    old = [earlier[len(rounds)]] * TURNS if len(rounds) < len(earlier) else []
    turns: Turns = {"base": seconds[1] if len(sides) > 1 else old, "change": seconds[0], "discarded": 0}
    rounds.append(turns)
    made["wrong"], made["base_wrong"] = sides[0].wrong, sides[1].wrong if len(sides) > 1 else ""
