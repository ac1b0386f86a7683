"""The base of all dialects: validation of answers, and the engine's methods on top of two requests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braidcheck.engines.http.client import Client, RequestRefused, ServerError
from braidcheck.engines.protocol import TopLogprobs

Row = Mapping[int, float]
"""Log-probabilities by token id, of one position."""

TOPS = (64, 20, 5, 1)
"""Numbers of log-probabilities to request: the golden's, vLLM's and SGLang's default limit, OpenAI's, any."""

MAX_TOTAL = 1.05
"""A position's probabilities add up to 1. Rounding log-probabilities to bfloat16 moves the sum by at most the entropy
(12 nats at 152k tokens) times 2^-8."""

PROBE_TOKENS = 2


class Server:
    """An engine behind HTTP. A dialect defines ``_logprobs``, ``_answers``, and ``sample`` and ``stream`` if it can."""

    name = "server"
    batch_invariant = False

    def __init__(self, client: Client, model: Mapping[str, Any], directory: Path, vocabulary_size: int) -> None:
        self.client, self.model, self.directory = client, str(model["id"]), directory
        self.vocabulary_size = vocabulary_size
        self.concurrency = client.limits.concurrent
        # Log-probabilities after a prompt's last token come with a generated token, which needs room.
        self.max_tokens = max(0, _context(model) - 1)
        self._top = 0  # until the server has shown how many it returns

    def prefill(self, ids: list[int]) -> TopLogprobs:
        """The server's best log-probabilities of each position."""
        return self.prefill_batch([ids])[0]

    def prefill_batch(self, prompts: list[list[int]]) -> list[TopLogprobs]:
        """Like ``prefill``, for the prompts of one request."""
        logprobs = self._most_logprobs(prompts)
        return [self._checked(ids, rows) for ids, rows in zip(prompts, logprobs, strict=True)]

    def generate(self, ids: list[int], n: int) -> list[int]:
        """Greedy tokens."""
        return self.generate_batch([ids], n)[0]

    def generate_batch(self, prompts: list[list[int]], n: int) -> list[list[int]]:
        """Greedy tokens of each prompt of one request."""
        return self._greedy(prompts, n, ())

    def _greedy(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[int]]:
        with reading(self.client, "token ids"):
            return [self._tokens(answer) for answer in self._answers(prompts, n, stop)]

    def drop_what_is_not_served(self) -> None:
        """Remove the methods that the server refuses, tested on two tokens. Raises ServerError if none is left."""
        probe, refused = [1] * PROBE_TOKENS, []
        for method, trial in (("prefill", self.prefill), ("generate", lambda ids: self.generate(ids, 1))):
            try:
                trial(probe)
            except RequestRefused as refusal:
                refused.append(str(refusal))
                setattr(self, method, None)
                setattr(self, f"{method}_batch", None)
        if len(refused) == 2:
            raise ServerError(f"the server gives neither log-probabilities nor token ids: {refused[0]}")

    def _logprobs(self, prompts: list[list[int]], top: int) -> list[list[Row]]:
        """Of each position of each prompt: the ``top`` best and, but for the last, the prompt's own next token."""
        raise NotImplementedError

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[Any]]:
        """Greedy tokens of each prompt, as the server names them; ``stop`` is empty if it takes none."""
        raise NotImplementedError

    def _most_logprobs(self, prompts: list[list[int]]) -> list[list[Row]]:
        """As many as the server returns: it refuses a request for more."""
        first: RequestRefused | None = None
        for top in (self._top,) if self._top else TOPS:
            try:
                with reading(self.client, "log-probabilities of a prompt"):
                    logprobs = self._logprobs(prompts, min(top, self.vocabulary_size))
                self._top = top
                return logprobs
            except RequestRefused as refusal:
                first = first or refusal
        assert first is not None
        raise first

    def _checked(self, ids: Sequence[int], rows: Sequence[Row]) -> TopLogprobs:
        """The rows of one prompt, validated."""
        where = f"{self.client.address} ({self.name})"
        if len(rows) != len(ids):
            raise ServerError(f"{where} gives log-probabilities of {len(rows)} positions for {len(ids)} tokens")
        for place, row in enumerate(rows):
            values = list(row.values())
            if not all(isinstance(value, int | float) and not math.isnan(value) for value in values):
                raise ServerError(f"{where} gives log-probabilities of position {place} that are not numbers")
            if sum(math.exp(min(value, 1.0)) for value in values) > MAX_TOTAL:
                raise ServerError(f"{where} gives position {place} a probability above 1: are these logits?")
        return TopLogprobs([self._tokens(row) for row in rows], [list(row.values()) for row in rows])

    def _tokens(self, answer: Iterable[Any]) -> list[int]:
        return [self._token(token) for token in answer]

    def _token(self, token: Any) -> int:
        """A token id of the model. Raises ServerError for anything else."""
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocabulary_size:
            known = f"the model in {self.directory} has {self.vocabulary_size} tokens"
            raise ServerError(
                f"{self.client.address} gives the token {str(token)[:20]}, {known}: another one is served"
            )
        return token

    def _same_model(self, answer: Mapping[str, Any]) -> None:
        """Raises ServerError if the answer names another model."""
        if answer.get("model", self.model) != self.model:
            other = str(answer["model"])[:60]
            raise ServerError(f"{self.client.address} answers for {self.model} with the model {other}: wrong routing?")


def _context(model: Mapping[str, Any]) -> int:
    """The maximum tokens of prompt and answer, if the server (vLLM, SGLang, llama.cpp) reports it; else 0."""
    limit = model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx")
    return limit if isinstance(limit, int) else 0


class StoppingServer(Server):
    """A server that supports stop tokens."""

    def generate(self, ids: list[int], n: int, stop: Sequence[int] = ()) -> list[int]:
        """Greedy tokens, up to and with the first of ``stop``."""
        return self.generate_batch([ids], n, stop)[0]

    def generate_batch(self, prompts: list[list[int]], n: int, stop: Sequence[int] = ()) -> list[list[int]]:
        """Greedy tokens of each prompt of one request."""
        return self._greedy(prompts, n, stop)


@contextmanager
def reading(client: Client, what: str) -> Iterator[None]:
    """Report in one line that an answer lacks a required part."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
        raise ServerError(f"{client.address} answers without {what} ({type(problem).__name__}): see its log") from None
