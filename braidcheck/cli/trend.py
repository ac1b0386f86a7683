"""``braidcheck trend``: what changed in a history, since when, and the likely cause."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck.ci import history
from braidcheck.errors import NotAvailable, UserError
from braidcheck.report.progress import Progress
from braidcheck.report.terminal import console

if TYPE_CHECKING:
    from braidcheck.ci.trend.evaluate import Trend

MAX_NAMES = 4


def trend(
    path: Annotated[Path, typer.Argument(help="a history's folder, or a CSV with time,series,value[,control]")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    since: Annotated[str, typer.Option(help="show only changes at this time or later")] = "",
) -> int:
    """Detect lasting shifts in timings and rates. Exit code: 0 no regression, 1 a regression, 3 nothing to evaluate."""
    from braidcheck.ci.trend import evaluate, table

    start = _timestamp(since)
    with Progress("trend") as progress:
        progress("reading")
        runs = history.runs(path) if path.is_dir() else table.read(path)
        result = evaluate.evaluate(runs, progress)
    if not result.evaluated and not result.skipped:
        raise NotAvailable(f"{path} has no timing or rate")
    if start is not None:
        result = replace(result, findings=tuple(f for f in result.findings if history.timestamp(f.time) >= start))
    if as_json:
        print(json.dumps({"changes": [finding.plain() for finding in result.findings]}, indent=1))
    else:
        _table(result)
    # With --json too, but on stderr: skipped series must not look green.
    aside = sys.stderr if as_json else sys.stdout
    for reason, names in _by_reason(result).items():
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        print(f"skipped: {', '.join(names[:MAX_NAMES])}{more}: {reason}", file=aside)
    print(_summary_line(result), file=aside)
    return result.exit_code


def _timestamp(since: str) -> float | None:
    try:
        return history.timestamp(since) if since else None
    except ValueError:
        raise UserError(f"--since {since!r} is neither an ISO 8601 time nor a number") from None


def _table(trend: Trend) -> None:
    if not trend.findings:
        return
    made = Table("series", "since", "change", "", "sure", "moved", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in trend.findings:
        word = Text("worse", style="bold red") if one.worse else Text("better", style="green")
        made.add_row(
            Text(one.series), one.time, f"{one.change:+.1%}", word, _sure(one.confidence), one.cause, Text(one.detail)
        )  # fmt: skip
    console().print(made)


def _sure(confidence: float) -> str:
    return f"{confidence:.2%}" if confidence < 0.9999 else "> 99.99%"


def _by_reason(trend: Trend) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, reason in trend.skipped.items():
        groups.setdefault(reason, []).append(name)
    return groups


def _summary_line(trend: Trend) -> str:
    worse = sum(finding.worse for finding in trend.findings)
    word = {0: "PASS", 1: "FAIL", 3: "SKIPPED"}[trend.exit_code]
    counts = f"{worse} worse, {len(trend.findings) - worse} better, in {trend.evaluated} series"
    return f"{word}: {counts}" + (f"; {len(trend.skipped)} skipped" if trend.skipped else "")
