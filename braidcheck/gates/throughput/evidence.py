"""The evidence of ``measure.measure_throughput``, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict

from braidcheck.gates.paired import SeriesTimings


class Series(TypedDict):
    """One timed kind of request: its ``tokens`` per call, of prompts (prefill) or of answers (decode). ``found`` are
    the rounds of both engines, or of this one only. ``prefill`` names the series that is part of a decode series.
    ``wrong`` and ``base_wrong`` say what is wrong with a timed answer; ``skipped`` and ``error`` why there are no
    timings.
    """

    name: str
    tokens: int
    prefill: str
    found: SeriesTimings
    wrong: str
    base_wrong: str
    skipped: str
    error: str


class Evidence(TypedDict):
    """All series of one engine, ``against`` another or an earlier Run (``earlier``), or nothing."""

    engine: str
    model: str
    against: str
    earlier: bool
    series: list[Series]
