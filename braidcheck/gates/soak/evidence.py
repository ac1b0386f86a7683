"""The evidence of ``measure.measure_soak`` and ``mutants.models.measure``, as plain data (standard library only)."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class FunctionRow(TypedDict):
    """The worst error ratio of one function over ``pairs``, and the case and output that gave it.

    ``raised`` is one line on why there was no result; the error ratio is then infinite.
    """

    function: str
    pairs: int
    error_ratio: float
    case: str
    output: str
    raised: str | None


class Evidence(TypedDict):
    """One op over many fresh inputs; ``elements`` were evaluated per function."""

    op: str
    pairs: int
    elements: int
    functions: list[FunctionRow]


class ModelRow(TypedDict):
    """One whole model of equivalent implementations on a part of the golden.

    ``functions`` are those of the ops that the model calls; ``checks`` maps a check's name to its status and the used
    part of its limit; ``refused`` are the messages of all failures and errors; ``raised`` is its exception in one line.
    """

    seed: int
    attention: str
    storage: str
    functions: dict[str, str]
    documents: list[int]
    tokens: int
    checks: dict[str, tuple[str, float | None]]
    refused: list[str]
    raised: str | None
    seconds: NotRequired[float]
