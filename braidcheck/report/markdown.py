"""A Run as Markdown for a job summary or a comment: failures first, change against a base, verdicts; 60 KB at most."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from braidcheck.gates.mutants import score, survivors
from braidcheck.report import engines
from braidcheck.report.compare import PAIRED, SAME, SAME_SPEED, compare, paired
from braidcheck.report.failure_pages import explained_in
from braidcheck.report.failures import failures, suspects
from braidcheck.report.rows import rows, skipped, summary_line
from braidcheck.result import Run

FILE = "summary.md"
# Maximum bytes of each section; with titles less than 60,000 in all, which fit into a GitHub comment.
LIMITS = {
    "Failures": 22_000,
    "Engine surfaces": 6_000,
    "Against the base": 8_000,
    "Kill score": 3_000,
    "Verdicts": 10_000,
    "Skipped": 6_000,
    "Environment": 4_000,
}
MAX_MESSAGE_CHARS = 600  # characters of one message
MAX_SURVIVORS = 20


def render(run: Run, base: Run | None = None, matrices: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole page; ``base`` is a Run to compare with, ``matrices`` kill matrices."""
    sections = {
        "Failures": _failures(run),
        "Engine surfaces": _engines(run),
        "Against the base": [*_timed(run), *(_against(run, base) if base else ())],
        "Kill score": _kills(matrices),
        "Verdicts": _verdicts(run),
        "Skipped": _left_out(run),
        "Environment": _environment(run),
    }
    page = [f"# {summary_line(run)}", ""]
    for title, lines in sections.items():
        if fitting := list(_fitting(lines, LIMITS[title])):
            page += [f"## {title}", "", *fitting, ""]
    return "\n".join(page)


def _fitting(lines: Iterable[str], limit: int) -> Iterator[str]:
    """As many lines as fit, and how many were omitted."""
    room, omitted = limit - 200, 0
    for line in lines:
        room -= len(line.encode()) + 1
        if room >= 0 and not omitted:
            yield line
        else:
            omitted += 1
    if omitted:
        yield from ("", f"... and {omitted} more lines: see run.json")


def _failures(run: Run) -> Iterator[str]:
    failed = failures(run)
    for op, gates in suspects(failed).items():
        yield f"**Suspect op: `{_code(op)}`** ({', '.join(map(_escaped, gates))})  "
    if pages := explained_in(failed):
        yield f"Causes and remedies: {', '.join(f'`{page}`' for page in pages)}  "
    for one in failed:
        facts = [one.reading, f"headroom {one.headroom}" if one.headroom else "", one.count and f"{one.count} cases"]
        facts += [f"suspect ops: {one.blame}" if str(one.blame) else ""]
        known = "; ".join(_escaped(fact) for fact in facts if fact)
        yield f"- **{one.first.status}** {_escaped(one.first.gate)} **{_escaped(one.names)}**" + (
            f" ({known})" if known else ""
        )
        yield f"  {_escaped(_short(one.first.message))}"
        if one.first.reproduce:
            yield f"  `{_code(one.first.reproduce)}`"
    for name in run.missing:
        yield f"- **no verdict** `{_code(name)}`"


def _engines(run: Run) -> Iterator[str]:
    for one in engines.tables(run):
        text = f"; separates right from wrong: {one.separates}" if one.separates else ""
        yield from (f"{_escaped(one.engine + text)}", "")
        yield from (_line(engines.HEADS[:-1]), _line("---" for _ in engines.HEADS[:-1]))
        yield from (_line(row[:-1]) for row in one.rows)
        yield ""


def _timed(run: Run) -> Iterator[str]:
    if series := paired(run):
        yield from (_line(PAIRED), _line("---" for _ in PAIRED), *map(_line, series), "")


def _against(run: Run, base: Run) -> Iterator[str]:
    comparison = compare(run, base)
    before = str(base.environment.get("commit") or "unknown")[:12]
    yield f"Base: commit `{_code(before)}`, {_escaped(summary_line(base))}"
    yield from (_escaped(note) for note in comparison.notes)
    if not comparison.changes:
        yield from ("", f"No verdict changed, no headroom by {SAME:.1%} of its limit, no speed by {SAME_SPEED:.0%}.")
        return
    yield ""
    heads = ("gate", "subject", "verdict", "before", "now", "unit", "headroom before", "now", "change")
    yield from (_line(heads), _line("---" for _ in heads))
    for one in comparison.changes:
        yield _line(one.cells)


def _kills(matrices: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for matrix in matrices:
        for kind in ("named", "generated"):
            of_kind = [row for row in matrix["mutants"] if row["kind"] == kind]
            caught, total = score(of_kind)
            if not total:
                continue
            survived = survivors(of_kind)
            more = f" and {len(survived) - MAX_SURVIVORS} more" if len(survived) > MAX_SURVIVORS else ""
            named = f"; not caught: {', '.join(map(_escaped, survived[:MAX_SURVIVORS]))}{more}" if survived else ""
            yield f"- {_escaped(str(matrix['lane']))}: {caught} of {total} {kind} faults are caught{named}"


def _verdicts(run: Run) -> Iterator[str]:
    heads = ("gate", "subject", "verdict", "evaluated", "worst", "limit", "unit", "headroom", "time", "lane")
    yield from (_line(heads), _line("---" for _ in heads))
    for row in (row for row in rows(run) if row.gate not in (engines.SURFACES, engines.SAMPLERS)):
        time = f"{row.seconds:.1f} s"
        yield _line((row.gate, row.subject, row.status, row.count, *row.reading, row.headroom, time, row.lane))


def _left_out(run: Run) -> Iterator[str]:
    for group in skipped(run):
        yield f"- {_escaped(group.names)}: {_escaped(_short(group.first.message))}"


def _environment(run: Run) -> Iterator[str]:
    if not run.environment:
        return
    yield from (_line(("what", "value")), _line(("---", "---")))
    for name, value in run.environment.items():
        yield _line((name, _short(format_value(value))))


def format_value(value: Any) -> str:
    """A value of a Run's environment as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(format_value(item) for item in value) or "none"
    return str(value) if value not in (None, "") else "none"


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(_escaped(str(cell)) for cell in cells) + " |"


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]} ..."


def _escaped(text: str) -> str:
    """Text without markup, links, images, mentions or references to issues."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*_~\[\]|!#])", r"\\\1", text)
    # GitHub links these even if escaped; a zero-width character prevents that.
    return re.sub(r"(?i)@|#|:(?=//)|\bwww(?=\.)|\bgh(?=-\d)", "\\g<0>\u200b", text)


def _code(text: str) -> str:
    """Text for a code span, without anything that would end it."""
    return re.sub(r"\s+", " ", text).replace("`", "'")
