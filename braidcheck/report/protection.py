"""Threshold protection on the terminal and in Markdown: what requires maintainer approval first, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from braidcheck.gates.protection import requires_approval
from braidcheck.report.formats import files_line
from braidcheck.report.rows import summary_line
from braidcheck.report.terminal import STYLES, console
from braidcheck.result import Run, Status, Verdict


def show(run: Run, out: Path) -> None:
    """Print every verdict of ``run``, the worst first, and the summary."""
    screen = console()
    for verdict in run.worst_first():
        line = f" {verdict.subject}: {_message(verdict)}"
        screen.print(Text.assemble((str(verdict.status), STYLES.get(verdict.status, "green")), line), soft_wrap=True)
    screen.print(Text(files_line(out)), soft_wrap=True)
    screen.print(Text("\n".join(_summary_line(run)), style="bold"), soft_wrap=True)


def markdown(run: Run) -> str:
    """The same for a pull request."""
    lines = ["## Threshold protection", "", *_summary_line(run), ""]
    lines += [f"- **{v.status}** `{v.subject}`: {_message(v)}" for v in run.worst_first()]
    return "\n".join(lines) + "\n"


def _message(verdict: Verdict) -> str:
    return " ".join(verdict.message.split())  # never at the start of a line, where a CI could take it for a command


def _summary_line(run: Run) -> Iterator[str]:
    if count := sum(map(requires_approval, run.verdicts)):
        yield f"{count} {'requires' if count == 1 else 'require'} maintainer approval: add a waiver or revert the edit"
    evaluated = sum(v.status != Status.SKIPPED for v in run.verdicts)
    yield summary_line(run, False) if evaluated else "skipped"
