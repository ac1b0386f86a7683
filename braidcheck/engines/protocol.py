"""The engine protocol: methods, most of them optional; checks of missing methods are skipped. An engine need not import
this module: it is any object with some of these methods, made by a factory that gets the model's directory. ``ids`` are
token ids, T the length of a prompt, V the vocabulary. Arrays may be torch, numpy or nested lists, floats of any width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = "CLAIMS", "LEVELS", "Batch", "Greedy", "Logits", "Sampler", "Stream", "TopLogprobs", "Trace"

LEVELS: dict[str, tuple[str, ...]] = {
    "logits": ("prefill",),
    "greedy": ("generate",),
    "batch": ("prefill_batch", "generate_batch"),
    "sampling": ("sample",),
    "stream": ("stream",),
    "trace": ("hidden_states",),
}
"""The methods of each level. An engine needs the logits or the greedy level; all others are optional."""

METHODS = tuple(method for methods in LEVELS.values() for method in methods)

CLAIMS: Mapping[str, int | bool] = {
    "concurrency": 1,  # maximum concurrent requests
    "max_batch": 0,  # prompts in a batch, 0 for any number
    "max_tokens": 0,  # maximum tokens of prompt and answer, 0 for the model's config
    "batch_invariant": False,  # a row's bits do not depend on its neighbours
    "includes_stop": True,  # an answer includes the stop token that ended it
}
"""Optional attributes of an engine, with their defaults."""


@dataclass(frozen=True)
class TopLogprobs:
    """A server's replacement for logits: ids [T,k] and their log-probabilities [T,k], in nats.

    Row t is the distribution of the token after ``ids[t]``. Rows may differ in k; a missing row is empty. Any object
    with these two attributes will do.
    """

    ids: Sequence[Sequence[int]]
    logprobs: Sequence[Sequence[float]]


class Logits(Protocol):
    """The first level."""

    def prefill(self, ids: list[int]) -> Any:
        """Logits or log-probabilities [T,V] of every position, or TopLogprobs."""


class Greedy(Protocol):
    """Greedy answers; an engine with only this level is evaluated by tokens."""

    def generate(self, ids: list[int], n: int) -> Sequence[int]:
        """``n`` tokens after ``ids``, each the most probable; fewer only if a stop token ended the answer, which is
        then the last one (unless ``includes_stop`` is False). If the method has an argument ``stop``, a list of token
        ids, these end an answer too."""


class Batch(Protocol):
    """Several prompts of any lengths at once; either method is enough."""

    def prefill_batch(self, prompts: list[list[int]]) -> Sequence[Any]:
        """Like ``prefill``, for each prompt."""

    def generate_batch(self, prompts: list[list[int]], n: int) -> Sequence[Sequence[int]]:
        """Like ``generate``, for each prompt."""


class Sampler(Protocol):
    """Seeded sampling."""

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int
    ) -> Sequence[int]:
        """``n`` sampled tokens: logits divided by ``temperature``, then the best ``top_k`` (0: all), then the fewest
        with at least ``top_p`` of the probability, then those with at least ``min_p`` times the best one's.

        ``top_p`` may also be taken of all tokens, limited by ``top_k`` as well. If the method takes ``stop``, as
        ``generate`` does, these tokens end an answer.
        """


class Stream(Protocol):
    """Streamed greedy answers."""

    def stream(self, ids: list[int], n: int) -> Iterable[int]:
        """Yields the tokens of ``generate``."""


class Trace(Protocol):
    """Hidden states, by which a failing check can name the layer."""

    def hidden_states(self, ids: list[int]) -> Sequence[Any]:
        """The embedding [T,H], then the residual stream [T,H] after each layer (before the final norm); None for a
        layer that is not available."""
