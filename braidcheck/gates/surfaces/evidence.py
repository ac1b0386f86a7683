"""The evidence of ``measure.measure_surfaces``, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict


class Outcome(TypedDict):
    """One request and how its answer compares with HF's.

    ``phase`` is "prefill", "greedy", "stop" or "stream"; ``batch`` its prompts, ``row`` the place among them;
    ``ragged`` whether their lengths differ; ``after`` what the process was asked before, in words of AFTER, and
    ``before`` how many prompts;
    ``length`` the tokens of the prompt; ``last`` the last position looked at, ``wrong_at`` the first wrong one.
    ``used`` is the largest part of a position's limit on KL (logits), ``kl`` and ``kl_floor`` are sums in nats over
    the ``positions``; ``what`` says what is wrong, empty if nothing is; ``finite`` is whether all numbers are.
    """

    phase: str
    batch: int
    row: int
    ragged: bool
    after: list[str]
    before: int
    together: bool
    document: int
    length: int
    last: int
    positions: int
    wrong_at: int | None
    used: float
    kl: float
    kl_floor: float
    what: str
    finite: bool


PREFIX, BLOCKS, STOPS, ENDED, SAME, LONGER, ANOTHER = AFTER = (
    "a request that begins alike",
    "a request with the same tokens behind another beginning",
    "a request with other stop tokens",
    "a stop token ended the request before",
    "the same request",
    "a longer request",
    "another request",
)


class Cell(TypedDict):
    """One row of the table: its outcomes, or why there are none (``skipped``), or how the engine failed (``error``). In
    cells that compare bits, ``differing`` of ``compared`` numbers differ from the same request alone;
    ``must_be_equal``: the engine claims that none does.
    """

    name: str
    outcomes: list[Outcome]
    skipped: str
    error: str
    seconds: float
    differing: int
    compared: int
    must_be_equal: bool


class Evidence(TypedDict):
    """All cells of one engine, and single failed requests repeated in a fresh process."""

    engine: str
    model: str
    cells: list[Cell]
    fresh: list[Outcome]
