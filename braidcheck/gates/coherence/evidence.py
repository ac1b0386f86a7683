"""What ``measure.measure_coherence`` and ``blame.find_blame`` see, as plain data (standard library only).

A number that is not finite is None. Keys are absent where their part was not wanted, or was lost: checks say so.
"""

from __future__ import annotations

from typing import TypedDict

Column = list[float | None]


class Document(TypedDict):
    """One document's columns, a number a token; ``flips`` are places, ``logit_error`` is a number a full position."""

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
    """Attention entropy by layer and head; empty where the engine shows no Q."""

    truth: list[Column]
    engine: list[Column]
    engine_error: list[Column]
    floor_error: list[Column]


Probe = tuple[str, int, bool, bool, bool]  # kind, distance, foreseen by HF float32, by HF bfloat16, by the engine


class Causality(TypedDict):
    """One run with other tokens from ``changed_from`` on: earlier positions that differ, and the ``first`` of them."""

    changed_from: int
    differing: int
    first: int | None
    later_changed: bool


class Continuation(TypedDict):
    """One greedy answer: HF's ``truth``, the ``engine``'s, and what the engine's own prefill would take."""

    document: int
    prompt: int
    truth: list[int]
    engine: list[int]
    prefill: list[int]
    certainty: Column
    own_certainty: Column


class Blame(TypedDict, total=False):
    """What is to blame for a failure; empty where no failure was seen again."""

    ops: list[str]
    layers: list[int]
    kl: float | None
    kl_repaired: float | None
    repaired: bool
    error: str
    looks: int


class Evidence(TypedDict, total=False):
    """One model on one golden, or on a part of it.

    Of an engine that is not ours (``foreign``), ``lacks`` and ``broken`` say by check what it cannot give and how it
    ended.
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
