"""A Run as JSON: the source of all other formats, read by ``report``, ``merge`` and ``trend``."""

from __future__ import annotations

from braidcheck.result import Run

FILE = "run.json"
PARTIAL = "partial-run.json"  # the verdicts so far of a run that has not ended, or that was killed


def render(run: Run) -> str:
    """The whole document."""
    return run.to_json()
