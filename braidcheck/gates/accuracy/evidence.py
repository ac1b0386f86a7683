"""The evidence of ``measure.measure_op``, as plain data (standard library only)."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Distance(TypedDict):
    """``numerics.error.Errors`` of one output."""

    error_ratio: float
    relative: float
    largest: float
    nonfinite: int
    bias: float
    narrow: str
    index: tuple[int, ...]
    got: float
    exact: float
    allowed: float


class Output(Distance):
    """One output's name and distance, and the PyTorch baseline's error ratio and relative error on the case."""

    name: str
    baseline_error_ratio: float
    baseline_relative: float


class Evidence(TypedDict):
    """One op on one case.

    ``missing``: optional arguments of the case that the function does not take; ``raised``: its exception in one line;
    ``problems``: outputs of wrong number, shape or dtype; ``outputs``: none where any of these is there;
    ``poisoned``: the inputs with NaN, or finite poison, in what a call may not read.
    """

    op: str
    case: str
    profile: str
    dtype: str
    device: str
    missing: list[str]
    raised: str | None
    problems: list[str]
    outputs: list[Output]
    poisoned: NotRequired[list[str]]
    seconds: float
