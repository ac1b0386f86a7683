"""What ``measure.measure_throughput`` sees, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict

from braidcheck.gates.paired import Found


class Series(TypedDict):
    """One kind of request, timed: its ``tokens`` a call, of prompts (prefill) or of answers (decode).

    ``found`` are rounds of both engines, of this one alone where there is no other. ``prefill`` names the series that
    a decode series begins with. ``wrong`` and ``base_wrong`` say what is wrong with an answer that was timed;
    ``skipped`` and ``error`` why there is nothing.
    """

    name: str
    tokens: int
    prefill: str
    found: Found
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
