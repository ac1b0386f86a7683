"""What calibrations say of the paired gate: its verdicts counted by series, several calibrations as one, the page."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from scipy.stats import binomtest

from braidcheck.errors import UserError
from braidcheck.gates.paired import LOOKS, decide, log_ratios
from braidcheck.result import Status

LARGE = 20e-6  # seconds of a kernel in which the gate must see 2%


class Row(TypedDict):
    """What was timed of one series, and how often the gate gave each verdict."""

    us: float
    slower_percent: float
    spread_percent: float
    restarts: int
    verdicts: dict[str, int]
    ratios: list[float]


Result = TypedDict(
    "Result",
    {
        "sessions": list[Mapping[str, Any]],  # an environment each
        "rows": dict[str, dict[str, Row]],  # by per cent of slow-down put in, "0" for A/A, and by series
        "left out": dict[str, dict[str, float | None]],  # by the same, the per cent that were measured instead
        "points": dict[str, dict[int, float]],  # by series, the logarithm of the slow-down by each amount of work
        "troubles": dict[str, Any],  # by series, why it was not timed
    },
)
"""A calibration."""


def verdicts(ratios: Sequence[float], count: int) -> list[Status]:
    """What the gate says of restarts in the order in which they came, in a run that evaluates ``count`` series.

    Each verdict takes as many as it needs, the next begins where it ended: every one counted is one that the gate would
    have given. The last may be cut short, and is left.
    """
    statuses = []
    while ratios:
        decision = decide(ratios[: LOOKS[-1]], count)
        if decision.status == Status.INCONCLUSIVE and len(ratios) < LOOKS[-1]:
            break
        statuses.append(decision.status)
        ratios = ratios[decision.count :]
    return statuses


def rows(timings: Mapping[str, Any], count: int) -> dict[str, Row]:
    """By series of one session what was seen, and how often the gate said what; less than two restarts say nothing."""
    seen = {}
    for name, one in timings.items():
        ratios = log_ratios(one["restarts"])
        if len(ratios) > 1:
            statuses = verdicts(ratios, count)
            counted = {str(status): statuses.count(status) for status in sorted(set(statuses))}
            seen[name] = _row([seconds(one)], ratios, [counted])
    return seen


def seconds(timings: Mapping[str, Any]) -> float:
    """The base's median time of one call."""
    return statistics.median(seconds for restart in timings["restarts"] for seconds in restart["base"])


def _row(times: Sequence[float], ratios: Sequence[float], counted: Sequence[Mapping[str, int]]) -> Row:
    statuses = sorted({status for one in counted for status in one})
    return {
        "us": 1e6 * statistics.median(times),
        "slower_percent": 100 * math.expm1(statistics.fmean(ratios)),
        "spread_percent": 100 * statistics.stdev(ratios),
        "restarts": len(ratios),
        "verdicts": {status: sum(one.get(status, 0) for one in counted) for status in statuses},
        "ratios": list(ratios),
    }


def begun(environment: Mapping[str, Any]) -> Result:
    """The result of a calibration in ``environment`` that has timed nothing yet."""
    return {"sessions": [environment], "rows": {}, "left out": {}, "points": {}, "troubles": {}}


def load(path: Path) -> Result:
    """The result that ``nox -s calibrate`` wrote to ``path``. Raises UserError for anything else."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        named = {name: {int(amount): seen for amount, seen in one.items()} for name, one in result["points"].items()}
        return cast(Result, {name: result[name] for name in Result.__annotations__} | {"points": named})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not a calibration result: give a file that nox -s calibrate wrote") from None


def pool(results: Sequence[Result]) -> Result:
    """Several calibrations of one kind of GPU as one: no verdict takes restarts from two of them.

    Raises UserError for results of several kinds of GPU, and for none at all.
    """
    if len(kinds := {_gpus(result) for result in results}) != 1:
        raise UserError(f"calibrations of one kind of GPU can be put together, these are of {sorted(kinds) or 'none'}")
    every: dict[str, dict[str, list[Row]]] = {}
    for result in results:
        for percent, series in result["rows"].items():
            for name, row in series.items():
                every.setdefault(percent, {}).setdefault(name, []).append(row)
    pooled = {percent: {name: _together(same) for name, same in series.items()} for percent, series in every.items()}
    left_out = {
        percent: {name: came for name, came in names.items() if name not in pooled.get(percent, {})}
        for result in results
        for percent, names in result["left out"].items()
    }
    return {
        "sessions": [session for result in results for session in result["sessions"]],
        "rows": dict(sorted(pooled.items(), key=lambda item: float(item[0]))),
        "left out": left_out,
        "points": {name: known for result in results for name, known in result["points"].items()},
        "troubles": {name: trouble for result in results for name, trouble in result["troubles"].items()},
    }


def _together(same: Sequence[Row]) -> Row:
    ratios = [ratio for row in same for ratio in row["ratios"]]
    return _row([row["us"] / 1e6 for row in same], ratios, [row["verdicts"] for row in same])


def interval(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share seen ``hits`` times in ``count`` (Clopper and Pearson 1934)."""
    if not count:
        return 0.0, 1.0
    ends = binomtest(hits, count).proportion_ci(method="exact")
    return float(ends.low), float(ends.high)


def render(result: Result) -> str:
    """The published page, Markdown."""
    sessions = sorted(result["sessions"], key=lambda session: session["started"])
    libraries = [session["libraries"] for session in sessions]
    versions = sorted({f"torch {one['torch']}, triton {one['triton']}" for one in libraries})
    where = f"{', '.join(session['started'] for session in sessions)}; {'; '.join(versions)}."
    lines = [f"# The paired gate's error rates: {_gpus(result)}", "", where, ""]
    for percent, series in result["rows"].items():
        title = "A/A: false alarms" if percent == "0" else f"{percent}% slower: power"
        lines += [f"## {title}", "", _summary(series), ""]
        large = {name: row for name, row in series.items() if row["us"] > 1e6 * LARGE}
        if percent != "0" and large:
            lines += [f"Of kernels above {1e6 * LARGE:.0f} us: {_summary(large)}", ""]
        lines += ["| series | us | slower by | spread between restarts | red | green | neither |", "|---" * 7 + "|"]
        lines += [*(_line(name, row) for name, row in sorted(series.items())), ""]
    lines += [f"Not timed: {name}: {trouble['said']}" for name, trouble in result["troubles"].items()]
    for percent, names in result["left out"].items():
        for name, seen in names.items():
            came = "no work was found to come near it" if seen is None else f"the work put in came to {seen:+.2f}%"
            lines.append(f"Left out of {percent}%: {name}, where {came}.")
    return "\n".join(lines).rstrip() + "\n"


def _gpus(result: Result) -> str:
    return ", ".join(sorted({gpu["name"] for session in result["sessions"] for gpu in session["gpus"]})) or "no GPU"


def _summary(rows_by_name: Mapping[str, Row]) -> str:
    red, green = (sum(row["verdicts"].get(status, 0) for row in rows_by_name.values()) for status in ("fail", "pass"))
    total = sum(sum(row["verdicts"].values()) for row in rows_by_name.values())
    low, high = interval(red, total)
    rate = f"{1e3 * red / max(1, total):.0f} red per 1,000 (95%: {1e3 * low:.1f} to {1e3 * high:.1f})"
    return f"{red} red of {total} verdicts, {green} green: {rate}."


def _line(name: str, row: Row) -> str:
    red, green, neither = (row["verdicts"].get(status, 0) for status in ("fail", "pass", "inconclusive"))
    seen = f"{row['us']:.2f} | {row['slower_percent']:+.2f}% | {row['spread_percent']:.2f}%"
    return f"| {name} | {seen} | {red} | {green} | {neither} |"
