"""An op's section of the page: its gates, the part of the bound that each case used, its failures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from braidcheck.report.failures import BAD, PER_OP
from braidcheck.report.page.sections import Bar, case_bar
from braidcheck.report.page.shown import MAX_CASES, MAX_FAILING, MAX_OPS, Shown, first
from braidcheck.report.rows import Row, limit_fraction
from braidcheck.result import SEVERITY, Status, Verdict


@dataclass(frozen=True)
class OpPart:
    """One op: one row per gate, one bar per case with the largest error ratio first, and failures with their commands.
    ``status`` is the worst of all gates, ``said`` is the text beside the name while the section is folded.
    """

    name: str
    status: Status
    said: str
    rows: Shown[Row]
    cases: Shown[Bar]
    failing: Shown[Verdict]


def parts(rows: Iterable[Row]) -> Shown[OpPart]:
    """The ops of ``rows``, which are in the order of their severity."""
    by_op: dict[str, list[Row]] = {}
    for row in rows:
        if row.gate in PER_OP and row.evaluated:
            by_op.setdefault(re.split(r"[\[ :]", row.subject)[0], []).append(row)
    shown = first(list(by_op.items()), MAX_OPS)
    return Shown([_part(name, own) for name, own in shown], shown.left)


def _part(name: str, rows: list[Row]) -> OpPart:
    verdicts = [verdict for row in rows for verdict in row.evaluated]
    cases = [verdict for verdict in verdicts if verdict.gate == "accuracy" and verdict.limit_fraction is not None]
    cases.sort(key=lambda verdict: -limit_fraction(verdict))
    shown = first(cases, MAX_CASES)
    bars = [case_bar(verdict) for verdict in shown]
    message = f"{len(verdicts):,} checks" + (f"; worst case: {bars[0].said}" if bars else "")
    bad = sorted((verdict for verdict in verdicts if verdict.status in BAD), key=lambda one: -limit_fraction(one))
    failing = first(bad, MAX_FAILING)
    status = min((row.status for row in rows), key=SEVERITY.index)
    return OpPart(name, status, message, first(rows, MAX_CASES), Shown(bars, shown.left), failing)
