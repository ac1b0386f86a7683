"""What a gate asks of an engine: methods, most of them optional; what an engine lacks is reported as skipped.

An engine needs nothing of this module: it is any object with some of these methods, made by a factory that is given
the model's directory. ``ids`` are token ids, T the length of a prompt, V the vocabulary. Arrays may be torch, numpy or
nested lists, floats of any width.
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
"""The methods of each level. An engine has the logits or the greedy level; all else is optional."""

METHODS = tuple(method for methods in LEVELS.values() for method in methods)

CLAIMS: Mapping[str, int | bool] = {
    "concurrency": 1,  # requests that threads may make at once
    "max_batch": 0,  # prompts in a batch, 0 for any number
    "max_tokens": 0,  # tokens of a prompt and its answer, 0 for as many as the model's config says
    "batch_invariant": False,  # the bits of a row do not depend on its neighbours
    "includes_stop": True,  # an answer that a stop token ended has it as its last token
}
"""Attributes by which an engine says more of itself, with their defaults."""


@dataclass(frozen=True)
class TopLogprobs:
    """What a server gives in place of logits: ids [T,k] and their log-probabilities [T,k], in nats.

    Row t is the distribution of the token after ``ids[t]``. Rows may differ in k; a row that is not given is empty. Any
    object with these two attributes serves.
    """

    ids: Sequence[Sequence[int]]
    logprobs: Sequence[Sequence[float]]


class Logits(Protocol):
    """The first level."""

    def prefill(self, ids: list[int]) -> Any:
        """Logits or log-probabilities [T,V] of every position, or TopLogprobs."""


class Greedy(Protocol):
    """Greedy answers; by itself it is evaluated by tokens alone."""

    def generate(self, ids: list[int], n: int) -> Sequence[int]:
        """The ``n`` most probable tokens after ``ids``, one after the other; fewer only where a stop token ended it,
        which is the last of them (unless ``includes_stop`` is False). Where the method takes ``stop``, a list of token
        ids, these end an answer too."""


class Batch(Protocol):
    """Several prompts of any lengths at once; either method alone serves."""

    def prefill_batch(self, prompts: list[list[int]]) -> Sequence[Any]:
        """What ``prefill`` gives, for each prompt."""

    def generate_batch(self, prompts: list[list[int]], n: int) -> Sequence[Sequence[int]]:
        """What ``generate`` gives, for each prompt."""


class Sampler(Protocol):
    """Seeded sampling."""

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int
    ) -> Sequence[int]:
        """``n`` drawn tokens: logits over ``temperature``, of these the best ``top_k`` (0: all), of these the fewest of
        at least ``top_p`` of the probability, of these the ones with at least ``min_p`` of the best one's. Or top-p of
        all tokens, where ``top_k`` limits them too. Where the method takes ``stop``, as ``generate`` does, these end an
        answer."""


class Stream(Protocol):
    """Greedy answers as they come."""

    def stream(self, ids: list[int], n: int) -> Iterable[int]:
        """The tokens that ``generate`` gives."""


class Trace(Protocol):
    """Hidden states, from which a failing check names the layer."""

    def hidden_states(self, ids: list[int]) -> Sequence[Any]:
        """The embedding [T,H], then the residual stream [T,H] after each layer (before the final norm); None where a
        layer's is not available."""
