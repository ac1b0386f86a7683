"""How often the paired gate is wrong on this machine: A/A pairs, and slow-downs of 1, 2 and 5% put into the kernels.

Run by ``nox -s calibrate``; ``error_rates.py`` counts and publishes.
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

from braidcheck.ci.paired.measure import all_series
from braidcheck.ci.paired.process import Process
from braidcheck.ci.paired.session import Session
from braidcheck.ci.paired.slower import slow_tree
from braidcheck.ci.paired.worker import ENGINE
from braidcheck.ci.paired.worktrees import REPOSITORY, prepare_worktree
from braidcheck.environment import fingerprint
from braidcheck.errors import UserError
from braidcheck.gates.paired import SeriesTimings, log_ratios
from braidcheck.result import write_atomically
from tools.calibration import error_rates
from tools.calibration.error_rates import Result
from tools.calibration.slowdowns import Points, near, search

PERCENTS = (1.0, 2.0, 5.0)
PROBES = 2  # restarts of one try of an amount of work


class Calibration:
    """One machine's calibration: what is timed, in which time. A context, at whose end all workers end."""

    def __init__(self, folder: Path, names: Sequence[str], seconds: float) -> None:
        """``names`` are parts of series' names, none for all; ``seconds`` the time for everything."""
        tree = prepare_worktree(REPOSITORY, folder / "plain")
        slow = Process("change", slow_tree(tree, folder / "slower"), slow_worker)
        self.plain = Session(Process("base", tree), Process("change", tree), 1, _say)
        self.slower = Session(Process("base", tree), slow, 2, _say)
        series = [one for one in all_series() if one["op"] != ENGINE]  # whose time is not its kernels' alone
        self.series = [one for one in series if not names or any(part in one["name"] for part in names)]
        self.until = time.monotonic() + seconds

    def __enter__(self) -> Calibration:
        return self

    def __exit__(self, *_: object) -> None:
        for session in (self.plain, self.slower):
            session.__exit__()

    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.until - time.monotonic())

    def pairs(
        self, series: Sequence[Mapping[str, Any]], turns: Mapping[str, int] | None, seconds: float, most: float
    ) -> dict[str, SeriesTimings]:
        """Restarts of the package against itself, with ``turns`` of extra work by series' name; ``most`` of each."""
        session = self.plain if turns is None else self.slower
        timed_series = series if turns is None else [{**one, "turns": turns[one["name"]]} for one in series]
        return session.measure(timed_series, seconds, lambda one: len(one["restarts"]) < most)


def slow_worker(tree: Path) -> list[str]:
    """The command that times the kernels of a slow tree."""
    return [sys.executable, "-m", "braidcheck.ci.paired.slow_worker"]


def calibrate(work: Calibration, percents: Sequence[float] = PERCENTS, points: Points | None = None) -> Result:
    """A/A for half of the time, then each of ``percents`` on one series an op; without any, A/A for all of it.

    ``points`` are what is known of amounts of work. ``left out`` has, by percentage, the series in which the work put
    in came to something else, with what it came to in per cent; None where no amount of work came near it.
    """
    plain = work.pairs(work.series, None, work.left() / 2 if percents else work.left(), math.inf)
    anchors = {one["name"]: one for one in _anchors(work.series, plain)} if percents else {}
    made, left_out = {"0": error_rates.rows(plain, len(work.series))}, {}
    points = {name: (points or {}).get(name, {}) for name in anchors}
    for number, percent in enumerate(percents):
        slowdown, share = math.log1p(percent / 100), work.left() / (len(percents) - number)
        turns = _amounts(work, anchors, points, slowdown, share / 2)
        share = work.left() / (len(percents) - number)
        slower = work.pairs([anchors[name] for name in turns], turns, share, math.inf)
        seen = error_rates.rows(slower, len(work.series))
        came = {name: math.log1p(row["slower_percent"] / 100) for name, row in seen.items()}
        for name, slow_down in came.items():
            points[name][turns[name]] = slow_down  # better known now than by a probe
        right = {name for name, slow_down in came.items() if near(slow_down, slowdown)}
        made[f"{percent:g}"] = {name: row for name, row in seen.items() if name in right}
        others = anchors.keys() - right
        left_out[f"{percent:g}"] = {name: seen[name]["slower_percent"] if name in seen else None for name in others}
    troubles = {name: one["trouble"] for name, one in plain.items() if one["trouble"]}
    return error_rates.begun(fingerprint()) | {
        "rows": made,
        "left out": left_out,
        "points": points,
        "troubles": troubles,
    }


def _amounts(
    work: Calibration, anchors: Mapping[str, Mapping[str, Any]], points: Points, slowdown: float, seconds: float
) -> dict[str, int]:
    """By series the work that makes it slower by ``slowdown``, looked for in at most so many seconds."""
    end = work.left() - seconds

    def probe(tries: Mapping[str, int]) -> dict[str, float]:
        series = work.pairs([anchors[name] for name in tries], tries, work.left() - end, PROBES)
        seen = {name: log_ratios(series[name]["restarts"]) for name in tries}
        return {name: statistics.fmean(ratios) for name, ratios in seen.items() if ratios}

    return search(slowdown, points, probe, lambda: work.left() > end)


def _anchors(series: Sequence[Mapping[str, Any]], plain: Mapping[str, SeriesTimings]) -> list[Mapping[str, Any]]:
    """Of each op the series that takes the least time above LARGE, or the most where none does."""
    timed = [(error_rates.seconds(plain[one["name"]]), one) for one in series if plain[one["name"]]["restarts"]]
    anchors: dict[str, tuple[tuple[bool, float], Mapping[str, Any]]] = {}
    for seconds, one in timed:
        rank = seconds <= error_rates.LARGE, abs(seconds - error_rates.LARGE)
        if one["op"] not in anchors or rank < anchors[one["op"]][0]:
            anchors[one["op"]] = rank, one
    return [one for _, one in anchors.values()]


def _say(text: str) -> None:
    if sys.stdout.isatty():
        print(f"{text:<100}", end="\r", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Calibrate on this machine and write a dated JSON file and a page to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="time for everything (60); 0 only puts together")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="folder of the results (docs)")
    parser.add_argument("--series", nargs="*", default=(), help="parts of the names of the series to use; all")
    parser.add_argument("--percents", nargs="*", type=float, default=PERCENTS, help="slow-downs to inject (1 2 5)")
    parser.add_argument("--earlier", nargs="*", type=Path, default=(), help="results on such a GPU to go on from")
    options = parser.parse_args(words)
    try:
        results = [error_rates.load(path) for path in options.earlier]
        if options.minutes:
            here = error_rates.begun(fingerprint())
            points = error_rates.pool([*results, here])["points"]  # refuses another GPU's before the time is spent
            with (
                tempfile.TemporaryDirectory(prefix="braidcheck-calibrate-") as folder,
                Calibration(Path(folder), options.series, 60 * options.minutes) as work,
            ):
                results.append(calibrate(work, options.percents, points))
        result = error_rates.pool(results)
    except UserError as error:
        parser.error(str(error))
    name = f"calibration-{datetime.now(UTC):%Y-%m-%d}"
    write_atomically(options.out / f"{name}.json", json.dumps(result, indent=1))
    page = error_rates.render(result)
    write_atomically(options.out / f"{name}.md", page)
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
