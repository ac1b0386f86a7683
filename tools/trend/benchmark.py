"""How often the trend detector is wrong and how late it is, beside other rules, on histories of known truth.

Each history is replayed as a nightly job sees it: analysed again every night with what is known then. A false alarm is
a change that was not said the night before. A change counts as found when one is said that is dated no earlier than
three nights before the truth; its delay is the number of slow nights that had been seen by then.

The last line of each noise is the recall of braidcheck's own test if it were told the noise and the night: how much of
what is missed is missed because, at this rate of false alarms, it cannot be known yet.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.special import chdtri

from braidcheck.ci.trend import changes
from braidcheck.ci.trend.evaluate import evaluate
from tools.trend import synthetic
from tools.trend.rules import RULES, Array, Nights, Rule, otava
from tools.trend.synthetic import AT, NIGHTS, Scenario

FIRST_NIGHT = 20  # the night on which a new series is first looked at
MAX_DATING_ERROR_NIGHTS = (
    3  # nights by which a change may be dated wrongly, or a false alarm move from one night to the next
)
MAX_DELAY_NIGHTS = 5  # nights after which a change should have been said
LOST_AFTER_NIGHTS = 20  # nights after which it counts as lost
ORACLE_SERIES = 30  # Otava takes a hundred times as long

Asked = tuple[Array, int, int]
Replay = Callable[[Sequence[Asked]], list[Nights]]


@dataclass(frozen=True)
class Score:
    """One rule on one scenario: false alarms, the series-nights they were counted on, and the delay of every change
    in nights, infinite where it was not found."""

    false: int
    nights: int
    delays: tuple[float, ...]

    @property
    def per_thousand(self) -> float:
        """False alarms per 1,000 series-nights."""
        return 1000 * self.false / self.nights

    @property
    def at_most(self) -> float:
        """The upper end of its one-sided 95% interval, alarms taken to be independent (Poisson)."""
        return 1000 * float(chdtri(2 * self.false + 2, 0.05)) / 2 / self.nights

    @property
    def recall(self) -> float:
        """The share of changes that was said within SOON nights."""
        return sum(delay <= MAX_DELAY_NIGHTS for delay in self.delays) / len(self.delays)

    def __str__(self) -> str:
        delay = statistics.median(self.delays)
        late = f"{delay:g}" if math.isfinite(delay) else "lost"
        return f"{self.per_thousand:8.2f} {self.at_most:8.2f} {self.recall:8.3f} {late:>6}"


def score(replay: Replay, scenario: Scenario, count: int) -> Score:
    """Replay ``count`` histories without a change for false alarms, and as many with one for recall and delay."""
    calm = [(logs, FIRST_NIGHT, len(logs)) for logs, _, _ in scenario.histories(count, 0.0)]
    false = sum(_new(nights) for nights in replay(calm))
    changed = list(scenario.histories(count, synthetic.STEP))
    spans = [(logs, start + 1, min(full + LOST_AFTER_NIGHTS, len(logs))) for logs, start, full in changed]
    said = replay(spans)
    delays = [_delay(nights, start, full) for nights, (_, start, full) in zip(said, changed, strict=True)]
    return Score(false, sum(last - first + 1 for _, first, last in calm), tuple(delays))


def by_rule(rule: Rule) -> Replay:
    """Replays histories with ``rule``."""
    return lambda asked: [[rule(logs[:night]) for night in range(first, last + 1)] for logs, first, last in asked]


def told(scenario: Scenario, count: int) -> float:
    """The recall that is left when nothing has to be searched for or estimated."""
    noise = changes.Noise(scenario.sigma, scenario.phi)
    flagged = [
        any(changes.told(logs[: full + seen], start, noise) for seen in range(changes.CONFIRM, MAX_DELAY_NIGHTS + 1))
        for logs, start, full in scenario.histories(count, synthetic.STEP)
    ]
    return sum(flagged) / count


def _new(nights: Nights) -> int:
    """Changes that were not said the night before."""
    pairs = zip([[], *nights], nights, strict=False)
    return sum(
        all(abs(index - old) > MAX_DATING_ERROR_NIGHTS for old in before) for before, now in pairs for index in now
    )


def _delay(nights: Nights, start: int, full: int) -> float:
    """Nights with all of the change that had been seen when it was first said."""
    for tonight, said in enumerate(nights, start + 1):
        if any(index >= start - MAX_DATING_ERROR_NIGHTS for index in said):
            return max(1, tonight - full)
    return math.inf


def causes(count: int) -> dict[str, int]:
    """How often, of ``count`` changes each, the one that was made is found and its cause named right."""
    return {
        cause: sum(
            any(
                finding.cause == cause and abs(float(finding.time) - AT) <= MAX_DATING_ERROR_NIGHTS
                for finding in evaluate(runs).findings
            )
            for runs in (synthetic.moved(cause, seed) for seed in range(count))
        )
        for cause in ("kernel", "control", "environment")
    }


def main(words: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=300, help="histories a row, of each kind (300)")
    parser.add_argument("--otava", metavar="PYTHON", help="an interpreter that can import apache-otava")
    options = parser.parse_args(words)
    began = time.monotonic()
    replays = {name: (by_rule(rule), options.series) for name, rule in RULES.items()}
    if options.otava:
        replays["Otava, 1%, 3 nights"] = (lambda spans: otava(options.otava, spans)), min(ORACLE_SERIES, options.series)
    print(
        f"{NIGHTS} nights a series, {synthetic.STEP:.0%} change on night {AT}, found within {MAX_DELAY_NIGHTS} nights"
    )
    print(f"{'':50}{'series-':>8}{'false':>8} {'at most':>8} {'recall':>8} {'median':>6}")
    print(f"{'noise':26}{'rule':24}{'nights':>8}{'/1000':>8} {'(95%)':>8} {'':>8} {'delay':>6}")
    for scenario in (*synthetic.IID, *synthetic.HARD, *synthetic.OTHER_SCENARIOS):
        for name, (replay, count) in replays.items():
            made = score(replay, scenario, count)
            print(f"{scenario.name:26}{name:24}{made.nights:8}{made}", flush=True)
        print(f"{scenario.name:26}{'told noise and night':24}{told(scenario, options.series):34.3f}")
    if not options.otava:
        print("Apache Otava: not run (give --otava PYTHON)")
    count = max(1, options.series // 3)
    named = ", ".join(f"{cause} {right} of {count}" for cause, right in causes(count).items())
    print(f"found and its cause named right: {named}\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
