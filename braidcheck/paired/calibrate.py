"""How often the paired gate is wrong on this machine: A/A pairs, and slow-downs of 1, 2 and 5% put into the kernels.

Run by ``nox -s calibrate``. Restarts are handed to the gate in the order in which they came: each verdict takes as many
as it needs, the next begins where it ended. So every verdict counted is one that the gate would have given.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scipy.stats import beta

from braidcheck.environment import fingerprint
from braidcheck.gates.paired import LOOKS, decide, log_ratios
from braidcheck.kernels import find
from braidcheck.measure.production import series
from braidcheck.paired.amounts import Points, near, search
from braidcheck.paired.process import Process
from braidcheck.paired.session import Found, Session
from braidcheck.paired.slower import slow_tree
from braidcheck.paired.trees import REPOSITORY, judged_tree
from braidcheck.results import Status, write_atomically

PERCENTS = (1.0, 2.0, 5.0)
PROBES = 3  # restarts of one try of an amount of work
LARGE = 20e-6  # seconds of a kernel in which the gate must see 2%


class Calibration:
    """One machine's calibration: what was timed, in which time."""

    def __init__(self, folder: Path, wanted: Sequence[str], seconds: float) -> None:
        """``wanted`` are parts of series' names, none for all; ``seconds`` the time for everything."""
        self.folder = folder
        self.tree = judged_tree(REPOSITORY, folder / "plain")
        found = [one for one in series(find()) if not wanted or any(part in one.name for part in wanted)]
        self.series = [{"name": one.name, "op": one.op, "axes": dict(one.case.axes)} for one in found]
        self.until = time.monotonic() + seconds
        self.sessions = 0

    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.until - time.monotonic())

    def pairs(self, series: Sequence[Mapping[str, Any]], turns: Mapping[str, int], seconds: float, most: int) -> Found:
        """Restarts of the package against itself with ``turns`` of extra work by op, at most so many a series."""
        self.sessions += 1
        change = self.tree
        if turns:
            change = slow_tree(self.tree, self.folder / f"slower-{self.sessions}", turns)
        session = Session(Process("base", self.tree), Process("change", change), self.sessions, _say)
        return session.observe(series, seconds, lambda one: len(one["restarts"]) < most)


def verdicts(found: Mapping[str, Any], count: int) -> list[Status]:
    """What the gate says, one verdict after the other, of a series' restarts; the last may be cut short and is left."""
    ratios, said = log_ratios(found["restarts"]), []
    while ratios:
        decision = decide(ratios[: LOOKS[-1]], count)
        if decision.status == Status.INCONCLUSIVE and len(ratios) < LOOKS[-1]:
            break
        said.append(decision.status)
        ratios = ratios[decision.count :]
    return said


def calibrate(work: Calibration, percents: Sequence[float] = PERCENTS) -> dict[str, Any]:
    """A/A for half of the time, then each of ``percents`` on one series an op, all as plain data.

    ``left out`` has, by percentage, the series in which the work put in came to something else, with what it came to
    in per cent; None where no amount of work came near it.
    """
    plain = work.pairs(work.series, {}, work.left() / 2, 10**9)
    anchors = {one["op"]: one for one in _anchors(work.series, plain)}
    rows, left_out = {"0": _rows(plain, len(work.series))}, {}
    points: Points = {op: {} for op in anchors}
    for number, percent in enumerate(percents):
        wanted, share = math.log1p(percent / 100), work.left() / (len(percents) - number)
        turns = _amounts(work, anchors, points, wanted, share / 2)
        share = work.left() / (len(percents) - number)
        made = _rows(work.pairs([anchors[op] for op in turns], turns, share, 10**9), len(work.series))
        right = {name for name, row in made.items() if near(math.log1p(row["slower_percent"] / 100), wanted)}
        rows[f"{percent:g}"] = {name: row for name, row in made.items() if name in right}
        others = [one["name"] for one in anchors.values() if one["name"] not in right]
        left_out[f"{percent:g}"] = {name: made[name]["slower_percent"] if name in made else None for name in others}
    troubles = {one["name"]: plain[one["name"]]["trouble"] for one in work.series if plain[one["name"]]["trouble"]}
    return {"environment": fingerprint(), "rows": rows, "troubles": troubles, "left out": left_out}


def _amounts(
    work: Calibration, anchors: Mapping[str, Mapping[str, Any]], points: Points, wanted: float, seconds: float
) -> dict[str, int]:
    """By op the work that makes it slower by ``wanted``, looked for in at most so many seconds."""
    end = work.left() - seconds

    def probe(tries: Mapping[str, int]) -> dict[str, float]:
        found = work.pairs([anchors[op] for op in tries], tries, work.left() - end, PROBES)
        seen = {op: log_ratios(found[anchors[op]["name"]]["restarts"]) for op in tries}
        return {op: statistics.fmean(ratios) for op, ratios in seen.items() if ratios}

    return search(wanted, points, probe, lambda: work.left() > end)


def _anchors(series: Sequence[Mapping[str, Any]], plain: Found) -> list[Mapping[str, Any]]:
    """Of each op the series that takes the least time above LARGE, or the most where none does."""
    timed = [(_seconds(plain[one["name"]]), one) for one in series if plain[one["name"]]["restarts"]]
    anchors: dict[str, tuple[tuple[bool, float], Mapping[str, Any]]] = {}
    for seconds, one in timed:
        rank = seconds <= LARGE, abs(seconds - LARGE)
        if one["op"] not in anchors or rank < anchors[one["op"]][0]:
            anchors[one["op"]] = rank, one
    return [one for _, one in anchors.values()]


def _seconds(found: Mapping[str, Any]) -> float:
    return statistics.median(seconds for restart in found["restarts"] for seconds in restart["base"])


def _rows(found: Found, count: int) -> dict[str, Any]:
    """By series: time, slow-down seen, spread, and how often the gate said what."""
    rows = {}
    for name, one in found.items():
        if len(one["restarts"]) < 2:
            continue
        said, ratios = verdicts(one, count), log_ratios(one["restarts"])
        rows[name] = {
            "us": 1e6 * _seconds(one),
            "slower_percent": 100 * math.expm1(statistics.fmean(ratios)),
            "spread_percent": 100 * statistics.stdev(ratios),
            "restarts": len(ratios),
            "verdicts": {str(status): said.count(status) for status in sorted(set(said))},
            "ratios": ratios,
        }
    return rows


def interval(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share seen ``hits`` times in ``count`` (Clopper and Pearson 1934)."""
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def render(result: Mapping[str, Any]) -> str:
    """The published page, Markdown."""
    where = result["environment"]
    gpus = ", ".join(gpu["name"] for gpu in where["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {where['libraries'][name]}" for name in ("torch", "triton"))
    lines = [f"# The paired gate's error rates: {gpus}", "", f"{where['started']}, {versions}.", ""]
    for percent, rows in result["rows"].items():
        red, green = (sum(row["verdicts"].get(said, 0) for row in rows.values()) for said in ("fail", "pass"))
        total = sum(sum(row["verdicts"].values()) for row in rows.values())
        low, high = interval(red, total)
        lines += [
            "## A/A: false alarms" if percent == "0" else f"## {percent}% slower: power",
            "",
            f"{red} red of {total} verdicts, {green} green: {1e3 * red / max(1, total):.0f} red per 1,000 "
            f"(95%: {1e3 * low:.1f} to {1e3 * high:.1f}).",
            "",
            "| series | us | slower by | spread between restarts | red | green | neither |",
            "|---|---|---|---|---|---|---|",
            *(_line(name, row) for name, row in sorted(rows.items())),
            "",
        ]
    for name, trouble in result["troubles"].items():
        lines.append(f"Not timed: {name}: {trouble['said']}")
    for percent, names in result["left out"].items():
        for name, seen in names.items():
            came = "no work was found to come near it" if seen is None else f"the work put in came to {seen:+.2f}%"
            lines.append(f"Left out of {percent}%: {name}, where {came}.")
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, row: Mapping[str, Any]) -> str:
    red, green, neither = (row["verdicts"].get(status, 0) for status in ("fail", "pass", "inconclusive"))
    seen = f"{row['us']:.2f} | {row['slower_percent']:+.2f}% | {row['spread_percent']:.2f}%"
    return f"| {name} | {seen} | {red} | {green} | {neither} |"


def _say(text: str) -> None:
    if sys.stdout.isatty():
        print(f"{text:<100}", end="\r", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Calibrate on this machine and write a dated JSON file and a page to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="time for everything (60)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="folder of the results (docs)")
    parser.add_argument("--series", nargs="*", default=(), help="parts of the names of the series to use; all")
    parser.add_argument("--percents", nargs="*", type=float, default=PERCENTS, help="slow-downs to inject (1 2 5)")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="braidcheck-calibrate-") as folder:
        result = calibrate(Calibration(Path(folder), given.series, 60 * given.minutes), given.percents)
    name = f"calibration-{datetime.now(UTC):%Y-%m-%d}"
    write_atomically(given.out / f"{name}.json", json.dumps(result, indent=1))
    write_atomically(given.out / f"{name}.md", render(result))
    print(render(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
