"""A report as one HTML file that needs nothing else: no network, no second file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from braidcheck.ci.history import hardware, timestamp
from braidcheck.ci.trend.evaluate import Trend
from braidcheck.report import sensitivity
from braidcheck.report.compare import PAIRED, Comparison, compare, paired
from braidcheck.report.failures import failures, suspects
from braidcheck.report.markdown import format_value
from braidcheck.report.page import sections, trends
from braidcheck.report.rows import rows, skipped, summary_line
from braidcheck.report.source import place
from braidcheck.result import Run, Status

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Subject:
    """What a report is about: a Run, the last of a history if there is one (absent for numbers imported from
    elsewhere), a Run to compare with, kill matrices, the rows of a measured sensitivity."""

    title: str
    run: Run | None
    history: Sequence[Run] = ()
    trend: Trend = field(default_factory=lambda: Trend((), 0, {}))
    base: Run | None = None
    matrices: Sequence[Mapping[str, Any]] = ()
    sensitivity: Sequence[Mapping[str, Any]] = ()


def render(subject: Subject) -> str:
    """The page."""
    environment = templates()
    run = subject.run or Run({}, (), ())
    found = failures(run)
    cards = trends.cards(subject.history, subject.trend)
    drawn, library = _charts(cards)
    return environment.get_template("page.html").render(
        title=subject.title,
        status=_status(subject),
        summary_line=summary_line(run) if subject.run else "",
        suspects=suspects(found),
        worse=[finding for finding in subject.trend.findings if finding.worse],
        trend=subject.trend,
        failures=[(one, place(one.first)) for one in found],
        missing=run.missing,
        cards=cards,
        charts=drawn,
        library=Markup(library),  # Bokeh's own script
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        headrooms=sections.headrooms(run),
        checks=sections.checks(run),
        strata=sections.strata(run),
        roofline=sections.roofline(run),
        kills=sections.kills(subject.matrices),
        sensitivities=list(sensitivity.tables(subject.sensitivity)),
        sensitivity_hint=sensitivity.explanation(subject.sensitivity),
        comparison=_compared(subject),
        paired=paired(run),
        paired_heads=PAIRED,
        rows=rows(run),
        left=skipped(run),
        meta=_meta(run, subject.history),
        environment={name: format_value(value) for name, value in run.environment.items()},
        absent=_absent(subject),
    )


def templates() -> Environment:
    """The templates of pages, which show text as text."""
    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["when"] = _when
    # In the order that was given, for Bokeh refers back to what it has read.
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return made


def _when(time: str) -> str:
    """An ISO 8601 time for people, to the minute and in UTC; anything else as it is."""
    try:
        float(time)
    except ValueError:
        return datetime.fromtimestamp(timestamp(time), UTC).strftime("%Y-%m-%d %H:%M")
    return time


def _status(subject: Subject) -> Status:
    """The worst that the Run or the trend says."""
    run = subject.run.status if subject.run else Status.SKIPPED
    if run in (Status.FAIL, Status.ERROR) or not subject.history:
        return run
    word = {0: Status.PASS, 1: Status.FAIL, 3: Status.SKIPPED}[subject.trend.exit_code]
    if word == Status.FAIL:
        return word
    return word if run == Status.SKIPPED else run


def _charts(cards: Sequence[trends.Card]) -> tuple[dict[str, Mapping[str, object]], str]:
    """The figures and what draws them; a page without figures carries no library."""
    if not cards:
        return {}, ""
    from braidcheck.report.page import figure

    return {f"chart-{number}": figure.draw(card) for number, card in enumerate(cards)}, figure.library()


def _compared(subject: Subject) -> Comparison | None:
    return compare(subject.run, subject.base) if subject.run and subject.base else None


def _meta(run: Run, history: Sequence[Run]) -> dict[str, str]:
    """The line below the headline."""
    seen = (history[-1] if history else run).environment
    libraries = seen.get("libraries")
    libraries = libraries if isinstance(libraries, Mapping) else {}
    known = {
        "commit": str(seen.get("commit") or "")[:12],
        "time": _when(str(seen["started"])) if seen.get("started") else "",
        "machine": hardware(seen) if seen else "",
        "torch": str(libraries.get("torch") or ""),
        "triton": str(libraries.get("triton") or ""),
        "nights": str(len(history)) if len(history) > 1 else "",
    }
    return {name: value for name, value in known.items() if value}


def _absent(subject: Subject) -> list[str]:
    """What a report could hold and this one does not, with the reason."""
    run = subject.run or Run({}, (), ())
    wanted = {
        "trend": (subject.history, "one Run has no past; give a history's folder"),
        "accuracy of ops": (sections.headrooms(run), "the Run has no accuracy verdict"),
        "the model by position": (sections.strata(run), "the Run has no NLL by position"),
        "measured limits": (sections.roofline(run), "the Run timed no kernel: that takes a GPU"),
        "kill matrix": (subject.matrices, "none was given; see braidcheck mutants --save, then report --mutants"),
        "sensitivity": (subject.sensitivity, "none was given; see braidcheck sensitivity --save, then --sensitivity"),
    }
    return [f"{name}: {why}" for name, (there, why) in wanted.items() if not there]
