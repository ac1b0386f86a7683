"""A Run as JSON: all that the other formats are made of, and what ``report``, ``merge`` and ``trend`` read."""

from __future__ import annotations

from braidcheck.result import Run

FILE = "run.json"


def render(run: Run) -> str:
    """The whole document."""
    return run.to_json()
