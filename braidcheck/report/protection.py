"""Threshold protection on the terminal and in Markdown: what needs a human first, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from braidcheck.gates.protection import needs_human
from braidcheck.report.rows import closing
from braidcheck.report.terminal import STYLES, console
from braidcheck.result import Run, Status, Verdict


def show(run: Run, out: Path) -> None:
    """Print every verdict of ``run``, the worst first, and what it comes to."""
    screen = console()
    for verdict in run.worst_first():
        said = f" {verdict.subject}: {_sentence(verdict)}"
        screen.print(Text.assemble((str(verdict.status), STYLES.get(verdict.status, "green")), said), soft_wrap=True)
    screen.print(Text(f"files: {out / 'run.json'}, {out / 'summary.md'}, {out / 'junit.xml'}"), soft_wrap=True)
    screen.print(Text("\n".join(_closing(run)), style="bold"), soft_wrap=True)


def markdown(run: Run) -> str:
    """The same for a pull request."""
    lines = ["## Threshold protection", "", *_closing(run), ""]
    lines += [f"- **{v.status}** `{v.subject}`: {_sentence(v)}" for v in run.worst_first()]
    return "\n".join(lines) + "\n"


def _sentence(verdict: Verdict) -> str:
    return " ".join(verdict.sentence.split())  # no line of its own, which a CI could take for a command


def _closing(run: Run) -> Iterator[str]:
    if count := sum(map(needs_human, run.verdicts)):
        yield f"{count} {'needs' if count == 1 else 'need'} a human: agree with a waiver, or take the edit back"
    judged = sum(v.status != Status.NOT_JUDGED for v in run.verdicts)
    yield closing(run, False) if judged else "not judged"
