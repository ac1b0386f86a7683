"""Sends requests to an engine, and remembers what its process has served before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from braidcheck.engines.client import Client, Prefilled, Top
from braidcheck.gates.surfaces.evidence import ANOTHER, BLOCKS, ENDED, LONGER, PREFIX, SAME, STOPS, Outcome
from braidcheck.gates.surfaces.truth import Circumstances, Request, prefill_outcome, tokens_outcome

MAX_ROWS = 128  # compared positions of a prompt, its last: half a chunk, so that all borders are covered
BATCH_ROWS = 8
MIN_PREFIX = 16  # common first tokens of two prompts: the smallest page of a cache


class NotServed(Exception):
    """The engine does not provide what a cell needs; the message says what."""


class Asker:
    """One engine; ``made`` has each outcome with its request and the other requests of its batch."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.made: list[tuple[Outcome, Sequence[Request]]] = []
        self._forget()

    def restart(self) -> None:
        """Let the next request be the first of a fresh process."""
        self.client.restart()
        self._forget()

    def can(self, *methods: str) -> bool:
        """Whether the engine has all of these methods."""
        return self.client.methods.issuperset(methods)

    def need(self, method: str, level: str) -> None:
        """Raises NotServed if the engine lacks the method."""
        if not self.can(method):
            raise NotServed(f"the engine gives no {level} (it has no {method})")

    def alone(self, request: Request) -> Prefilled:
        """All logits of one prompt by itself."""
        self._after([request])
        return self.client.prefill(request.ids, range(request.length))

    def single(self, request: Request) -> list[Outcome]:
        """One request by itself: its logits and, if HF is sure of any token, its greedy answer."""
        outcomes = []
        if self.can("prefill"):
            outcomes.append(self.logits(request))
        if self.can("generate") and request.count:
            outcomes.append(self.greedy(request))
        return outcomes

    def logits(self, request: Request) -> Outcome:
        """The last logits of a prompt by itself."""
        first = max(0, request.length - MAX_ROWS)
        (circumstances,) = self._circumstances([request])
        got = self.client.prefill(request.ids, range(first, request.length))
        return self._keep(prefill_outcome(request, got, first, circumstances), [request])

    def greedy(self, request: Request, method: str = "generate") -> Outcome:
        """The greedy answer, as far as HF is sure, by ``generate`` or ``stream``."""
        (circumstances,) = self._circumstances([request])
        got = getattr(self.client, method)(request.ids, request.count)
        phase = "greedy" if method == "generate" else method
        return self._keep(tokens_outcome(request, got, request.count, circumstances, phase), [request])

    def batch(self, requests: Sequence[Request], method: str = "batch") -> list[Outcome]:
        """Several requests at once, in one batch or (``together``) by threads."""
        outcomes = []
        together = method == "together"
        prompts = [request.ids for request in requests]
        if self.can("prefill") if together else self.can("prefill_batch"):
            outcomes += self._prefill_outcomes(requests, self.prefills(requests, method), together)
        if self.can("generate") if together else self.can("generate_batch"):
            counts = [max(request.count, 1) for request in requests]
            circumstances = self._circumstances(requests, together)
            if together:
                answers = self.client.generate_together(prompts, counts)
            else:
                counts = [max(counts)] * len(counts)
                answers = self.client.generate_batch(prompts, counts[0])
            rows = zip(requests, answers, counts, circumstances, strict=True)
            outcomes += [self._keep(tokens_outcome(r, got, n, how), requests) for r, got, n, how in rows]
        return outcomes

    def prefills(self, requests: Sequence[Request], method: str = "batch") -> list[Prefilled]:
        """The last logits of each prompt."""
        count = min(BATCH_ROWS, *(request.length for request in requests), MAX_ROWS)
        prompts, rows = [request.ids for request in requests], range(-count, 0)
        prefill = self.client.prefill_together if method == "together" else self.client.prefill_batch
        return prefill(prompts, rows)

    def stopped(self, token: int, stop: Sequence[int], requests: Sequence[Request], batch: bool) -> list[Outcome]:
        """Answers that end at ``token``: one of ``stop``, or if this is empty the model's own stop token."""
        expected = [self._until(token, request.answer) for request in requests]
        count = max(request.count for request in requests)
        circumstances, answers, whole = [], [], [True] * len(requests)
        if batch:
            circumstances += self._circumstances(requests, stop=stop)
            answers += self.client.generate_batch([request.ids for request in requests], count, stop)
            whole = [request.count == count or token in request.answer for request in requests]
        for request in [] if batch else requests:
            circumstances += self._circumstances([request], stop=stop)
            answers.append(self.client.generate(request.ids, request.count, stop))
            self._ended = bool({*answers[-1][-1:]} & {*stop})
        outcomes = []
        for request, got, right, how, all_of_it in zip(requests, answers, expected, circumstances, whole, strict=True):
            got = got if all_of_it else got[: len(right)]
            outcomes.append(tokens_outcome(request, got, len(right), how, "stop", right))
        return outcomes

    def _until(self, token: int, answer: list[int]) -> list[int]:
        if token not in answer:
            return answer
        return answer[: answer.index(token) + bool(self.client.claims["includes_stop"])]

    def _prefill_outcomes(
        self, requests: Sequence[Request], got: Sequence[Prefilled], together: bool
    ) -> list[Outcome]:  # fmt: skip
        circumstances = self._circumstances(requests, together)
        outcomes = []
        for request, logits, how in zip(requests, got, circumstances, strict=True):
            first = 0 if isinstance(logits, Top) else request.length - len(logits)
            outcomes.append(self._keep(prefill_outcome(request, logits, first, how), requests))
        return outcomes

    def _circumstances(
        self, requests: Sequence[Request], together: bool = False, stop: Sequence[int] = ()
    ) -> list[Circumstances]:  # fmt: skip
        before, after = len(self._earlier), self._after(requests, stop)
        uneven = len({request.length for request in requests}) > 1
        batch = 1 if together else len(requests)
        return [
            Circumstances(batch, 0 if together else row, uneven and not together, after, before, together)
            for row in range(len(requests))
        ]

    def _after(self, requests: Sequence[Request], stop: Sequence[int] = ()) -> tuple[str, ...]:
        """What this process has served before these requests, which are remembered from now on."""
        if self.client.starts != self._starts:  # it was started again
            self._forget()
        prompts = [request.ids for request in requests]
        shortest = min(map(len, prompts))
        words: dict[str, bool] = {
            ANOTHER: bool(self._earlier),
            SAME: any(earlier == prompt for earlier in self._earlier for prompt in prompts),
            LONGER: any(len(earlier) > shortest for earlier in self._earlier),
            PREFIX: any(_alike(earlier, prompt) for earlier in self._earlier for prompt in prompts)
            or any(_alike(one, other) for one, other in combinations(prompts, 2)),
            BLOCKS: sum(self._meets_block(prompt) for prompt in prompts) > 0,
            STOPS: not self._stops <= {*stop},
            ENDED: self._ended,
        }
        self._earlier += prompts
        self._stops |= {*stop}
        self._ended = False
        return tuple(word for word, holds in words.items() if holds)

    def _forget(self) -> None:
        self._starts = self.client.starts
        self._earlier: list[list[int]] = []
        self._stops: set[int] = set()
        self._ended = False
        self._beginnings: dict[tuple[int, tuple[int, ...]], set[int]] = {}

    def _meets_block(self, ids: list[int]) -> bool:
        """Whether a block of these tokens was seen at the same position after other tokens; remembers all blocks."""
        meets, before = False, 0
        for index in range(0, len(ids) - MIN_PREFIX + 1, MIN_PREFIX):
            block = tuple(ids[index : index + MIN_PREFIX])
            beginnings = self._beginnings.setdefault((index, block), set())
            beginnings.add(before)
            meets |= len(beginnings) > 1
            before = hash((before, block))
        return meets

    def _keep(self, outcome: Outcome, requests: Sequence[Request]) -> Outcome:
        self.made.append((outcome, requests))
        return outcome


def _alike(one: list[int], other: list[int]) -> bool:
    return len(one) >= MIN_PREFIX and one[:MIN_PREFIX] == other[:MIN_PREFIX]
