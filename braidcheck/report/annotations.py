"""A Run as GitHub's annotations: one a failure, on the blamed kernel's file and line."""

from __future__ import annotations

from collections.abc import Iterator

from braidcheck.report.failures import failures
from braidcheck.report.source import place
from braidcheck.result import Run, Status

MOST = 10  # errors that GitHub shows of one step


def lines(run: Run) -> Iterator[str]:
    """Workflow commands for standard output, the worst first; what could not be judged is a warning."""
    for one in failures(run)[:MOST]:
        verdict = one.first
        where = {"title": f"{verdict.status} {verdict.gate} {one.names}"}
        if found := place(verdict):
            where = {"file": found[0], "line": str(found[1])} | where
        properties = ",".join(f"{key}={_property(value)}" for key, value in where.items())
        word = "warning" if verdict.status == Status.INCONCLUSIVE else "error"
        said = f"{verdict.sentence}\n{verdict.reproduce}".strip()
        yield f"::{word} {properties}::{_message(said)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
