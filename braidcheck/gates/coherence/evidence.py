"""The evidence of ``measure.measure_coherence`` and ``blame.find_blame``, as plain data (standard library only). A
number that is not finite is None. Keys of parts that were not requested, or were lost, are absent: checks report that.
"""

from __future__ import annotations

from typing import TypedDict

Column = list[float | None]


class Document(TypedDict):
    """One document's columns, one number per token; ``flips`` are positions, ``logit_error`` has one number per full
    position."""

    tokens: int
    kl: Column
    kl_floor: Column
    nll: Column
    nll_truth: Column
    nll_floor: Column
    certainty: Column
    flips: list[int]
    logit_error: Column
    logit_error_floor: Column


class Hidden(TypedDict):
    """Error of the hidden states by layer."""

    engine: Column
    floor: Column


class Entropy(TypedDict, total=False):
    """Attention entropy by layer and head; empty if the engine does not expose Q."""

    truth: list[Column]
    engine: list[Column]
    engine_error: list[Column]
    floor_error: list[Column]


Probe = tuple[str, int, bool, bool, bool]  # kind, distance, predicted by HF float32, by HF bfloat16, by the engine


class Causality(TypedDict):
    """One run with other tokens from ``changed_from`` on: earlier positions that differ, and the ``first`` of them."""

    changed_from: int
    differing: int
    first: int | None
    later_changed: bool


class Continuation(TypedDict):
    """One greedy answer: HF's ``truth``, the ``engine``'s, and the choices of the engine's own prefill."""

    document: int
    prompt: int
    truth: list[int]
    engine: list[int]
    prefill: list[int]
    certainty: Column
    own_certainty: Column


class Blame(TypedDict, total=False):
    """What is to blame for a failure; empty if the failure did not reproduce."""

    ops: list[str]
    layers: list[int]
    kl: float | None
    kl_repaired: float | None
    repaired: bool
    error: str
    looks: int


class Evidence(TypedDict, total=False):
    """One model on one golden, or on a part of it. For a user's engine (``foreign``), ``lacks`` and ``broken`` say for
    each check what it does not provide and how it ended.
    """

    format: int
    model: str
    golden: str
    generator_perplexity: float
    documents: list[Document]
    hidden: Hidden
    entropy: Entropy
    probes: list[Probe]
    causality: list[Causality]
    continuations: list[Continuation]
    blame: Blame
    foreign: bool
    lacks: dict[str, str]
    broken: dict[str, str]
