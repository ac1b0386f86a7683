"""A Run as Markdown: verdict table, failures first, what was not judged and why, environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from braidcheck.report.rows import bad, closing, not_judged, rows
from braidcheck.results import Run


def render(run: Run) -> str:
    """The whole page."""
    return "\n".join([f"# {closing(run)}", "", *_failures(run), *_verdicts(run), *_left_out(run), *_environment(run)])


def _failures(run: Run) -> Iterator[str]:
    found = bad(run)
    if not found and not run.missing:
        return
    yield from ("## What is wrong", "")
    for group in found:
        verdict = group.first
        yield f"- **{verdict.status}** {group.names}: {_escaped(verdict.sentence)}"
        if verdict.reproduce:
            yield f"  `{verdict.reproduce}`"
    for name in run.missing:
        yield f"- **no verdict** `{name}`"
    yield ""


def _verdicts(run: Run) -> Iterator[str]:
    yield from ("## Verdicts", "")
    heads = ("gate", "subject", "verdict", "judged", "worst", "limit", "unit", "headroom", "time", "lane")
    yield from (_line(heads), _line("---" for _ in heads))
    for row in rows(run):
        time = f"{row.seconds:.1f} s"
        yield _line((row.gate, row.subject, row.status, row.count, *row.reading, row.headroom, time, row.lane))
    yield ""


def _left_out(run: Run) -> Iterator[str]:
    found = not_judged(run)
    if found:
        yield from ("## Not judged", "", *(f"- {group.names}: {_escaped(group.first.sentence)}" for group in found), "")


def _environment(run: Run) -> Iterator[str]:
    yield from ("## Environment", "", _line(("what", "value")), _line(("---", "---")))
    for name, value in run.environment.items():
        yield _line((name, _said(value)))
    yield ""


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(_said(item) for item in value) or "none"
    return str(value) if value not in (None, "") else "none"


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(_escaped(str(cell)) for cell in cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
