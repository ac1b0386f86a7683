"""A Run as GitHub annotations: one per failure, on the blamed kernel's file and line."""

from __future__ import annotations

from collections.abc import Iterator

from braidcheck.report.failures import failures
from braidcheck.report.source import place
from braidcheck.result import Run, Status

MAX_ANNOTATIONS = 10  # errors that GitHub shows of one step


def lines(run: Run) -> Iterator[str]:
    """Workflow commands for standard output, the worst first; inconclusive verdicts are warnings."""
    for one in failures(run)[:MAX_ANNOTATIONS]:
        verdict = one.first
        where = {"title": f"{verdict.status} {verdict.gate} {one.names}"}
        if location := place(verdict):
            where = {"file": location[0], "line": str(location[1])} | where
        properties = ",".join(f"{key}={_property(value)}" for key, value in where.items())
        word = "warning" if verdict.status == Status.INCONCLUSIVE else "error"
        text = f"{verdict.message}\n{verdict.reproduce}".strip()
        yield f"::{word} {properties}::{_message(text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
