"""The HTML report: one self-contained file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from braidcheck.ci.history import hardware, timestamp
from braidcheck.ci.trend.evaluate import Trend
from braidcheck.report import engines, sensitivity
from braidcheck.report.compare import PAIRED, beside, compare, paired
from braidcheck.report.failure_pages import ENTRIES
from braidcheck.report.failures import Failure, failures, suspects
from braidcheck.report.markdown import format_value
from braidcheck.report.page import ops, sections, trends
from braidcheck.report.page.shown import MAX_ITEMS, MAX_ROWS, Shown, first
from braidcheck.report.rows import rows, skipped, summary_line
from braidcheck.report.source import place
from braidcheck.result import Run, Status

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Subject:
    """The contents of a report: a Run, the last one of a history if there is one (None for numbers imported from
    elsewhere), a Run to compare with, kill matrices, sensitivity rows."""

    title: str
    run: Run | None
    history: Sequence[Run] = ()
    trend: Trend = field(default_factory=lambda: Trend((), 0, {}))
    base: Run | None = None
    matrices: Sequence[Mapping[str, Any]] = ()
    sensitivity: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page, with a template named by its id; omitted if its body is empty."""

    id: str
    title: str
    body: str = ""


SECTIONS = (
    Section("wrong", "Failures"),
    Section("engines", "Engine surfaces"),
    Section("base", "Against the base"),
    Section("trend", "Trend"),
    Section("headroom", "Headroom of the ops"),
    Section("ops", "Op by op"),
    Section("model", "The model"),
    Section("strata", "NLL by position"),
    Section("roofline", "Kernels against the machine"),
    Section("kills", "Kill matrix"),
    Section("sensitivity", "Sensitivity"),
    Section("all", "All verdicts"),
    Section("left", "Skipped, and why"),
    Section("environment", "Environment"),
)


def render(subject: Subject) -> str:
    """The page."""
    environment = templates()
    run = subject.run or Run({}, (), ())
    failed = failures(run)
    cards = trends.cards(subject.history, subject.trend)
    drawn, library = _charts(cards)
    worse = [finding for finding in subject.trend.findings if finding.worse]
    facts = _of_run(run, failed) | _of_base(subject) | {"cards": cards, "trend": subject.trend, "worse": worse}
    facts |= {
        "kills": sections.kills(subject.matrices),
        "sensitivities": list(sensitivity.tables(subject.sensitivity)),
        "sensitivity_hint": sensitivity.explanation(subject.sensitivity),
    }
    facts["absent"] = _absent(subject, facts)
    bodies = ((one, environment.get_template(f"{one.id}.html").render(facts).strip()) for one in SECTIONS)
    return environment.get_template("page.html").render(
        title=subject.title,
        status=_status(subject),
        summary_line=summary_line(run) if subject.run else "",
        suspects=suspects(failed),
        worse=worse,
        trend=subject.trend,
        meta=_meta(run, subject.history),
        sections=[replace(one, body=Markup(body)) for one, body in bodies if body],  # escaped by its template
        charts=drawn,
        library=Markup(library),  # Bokeh's script
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def _of_run(run: Run, failed: Sequence[Failure]) -> dict[str, object]:
    """The data of the sections for one Run."""
    ordered = rows(run)
    shown = first(failed, MAX_ITEMS)
    return {
        "failures": Shown([(one, place(one.first)) for one in shown], shown.left),
        "explained": ENTRIES,
        "missing": first(run.missing, MAX_ITEMS),
        "engines": engines.tables(run),
        "engine_heads": engines.HEADS,
        "headrooms": first(sections.headrooms(ordered), MAX_ITEMS),
        "ops": ops.parts(ordered),
        "checks": first(sections.checks(run), MAX_ITEMS),
        "strata": sections.strata(run),
        "roofline": first(sections.roofline(run), MAX_ITEMS),
        "roof": sections.ROOF,
        "points": first(sections.roof_points(run), MAX_ITEMS),
        "rows": first(ordered, MAX_ROWS),
        "left": first(skipped(run), MAX_ITEMS),
        "environment": {name: format_value(value) for name, value in run.environment.items()},
    }


def _of_base(subject: Subject) -> dict[str, object]:
    """The Run and its base: timings of the same session, and changes since another Run."""
    run, base = subject.run or Run({}, (), ()), subject.base
    made = compare(run, base) if subject.run and base else None
    return {
        "paired": first(paired(run), MAX_ITEMS),
        "paired_heads": PAIRED,
        "comparison": made,
        "changes": first(made.changes if made else (), MAX_ITEMS),
        "beside": beside(run, base) if base else (),
    }


def templates() -> Environment:
    """The templates of pages, with automatic escaping."""
    made = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["when"] = _when
    # In the given order, since Bokeh refers back to earlier objects.
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    made.globals |= {"anchor": _anchor, "here": _here}
    made.globals["m"] = made.get_template("macros.html").module
    return made


def _anchor(text: str) -> str:
    """An element's id, which stays the same from Run to Run."""
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-")


def _here(identifier: str, name: str) -> Markup:
    return Markup('<a class="here" href="#{}" aria-label="Link to {}">#</a>').format(identifier, name)


def _when(time: str) -> str:
    """An ISO 8601 time in readable form, to the minute and in UTC; anything else unchanged."""
    try:
        float(time)
    except ValueError:
        return datetime.fromtimestamp(timestamp(time), UTC).strftime("%Y-%m-%d %H:%M")
    return time


def _status(subject: Subject) -> Status:
    """The worst status of the Run or the trend."""
    run = subject.run.status if subject.run else Status.SKIPPED
    if run in (Status.FAIL, Status.ERROR) or not subject.history:
        return run
    word = {0: Status.PASS, 1: Status.FAIL, 3: Status.SKIPPED}[subject.trend.exit_code]
    if word == Status.FAIL:
        return word
    return word if run == Status.SKIPPED else run


def _charts(cards: Sequence[trends.Card]) -> tuple[dict[str, Mapping[str, object]], str]:
    """The figures and the library that draws them; a page without figures has no library."""
    if not cards:
        return {}, ""
    from braidcheck.report.page import figure

    return {f"chart-{number}": figure.draw(card) for number, card in enumerate(cards)}, figure.library()


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
        "nightly runs": str(len(history)) if len(history) > 1 else "",
    }
    return {name: value for name, value in known.items() if value}


def _absent(subject: Subject, facts: Mapping[str, object]) -> list[str]:
    """Sections that this report does not have, with the reason."""
    sections = {
        "trend": (subject.history, "a single Run has no history; give a history's folder"),
        "accuracy of ops": (facts["headrooms"], "the Run has no accuracy verdict"),
        "the model by position": (facts["strata"], "the Run has no NLL by position"),
        "measured limits": (facts["roofline"], "the Run timed no kernel: timing needs a GPU"),
        "kill matrix": (subject.matrices, "none was given; see braidcheck mutants --save, then report --mutants"),
        "sensitivity": (subject.sensitivity, "none was given; see braidcheck sensitivity --save, then --sensitivity"),
    }
    return [f"{name}: {why}" for name, (there, why) in sections.items() if not there]
