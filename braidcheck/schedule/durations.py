"""The usual duration of each item of the suite: a shipped table, and earlier Runs.

python3 -m braidcheck.schedule.durations RUN.json     # put the gates of a Run into the shipped table
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from braidcheck import checksum
from braidcheck.errors import UserError
from braidcheck.result import Run, Verdict, write_atomically

TABLE = Path(__file__).with_name("durations.json")
SCHEMA = "durations 1"
MIN_SECONDS = 0.2  # minimum seconds of an item in the table; shorter items are represented by their gate's mean
UNKNOWN_SECONDS = 1.0  # default seconds of an item of an unknown gate


class GateSeconds(TypedDict):
    """One gate of the shipped table: seconds by subject, and of any other."""

    other: float
    items: dict[str, float]


@dataclass(frozen=True)
class Durations:
    """Seconds by verdict id, and by ``lane/gate`` for items without their own number."""

    items: Mapping[str, float]
    others: Mapping[str, float]

    def of(self, name: str) -> float:
        """Seconds that the item with the verdict id ``name`` (lane/gate/subject) takes."""
        gate = "/".join(name.split("/", 2)[:2])
        return self.items.get(name, self.others.get(gate, UNKNOWN_SECONDS))

    def of_gates(self, lane: str, gates: tuple[str, ...]) -> float:
        """Seconds that all known items of ``gates`` take together."""
        prefixes = tuple(f"{lane}/{gate}/" for gate in gates)
        return sum(seconds for name, seconds in self.items.items() if name.startswith(prefixes))

    def updated(self, newer: Durations) -> Durations:
        """These durations, with those of ``newer`` where it has one."""
        return Durations({**self.items, **newer.items}, {**self.others, **newer.others})

    @classmethod
    def shipped(cls) -> Durations:
        """The durations in the package's own table."""
        items: dict[str, float] = {}
        others: dict[str, float] = {}
        for lane, gates in checksum.opened(TABLE.read_text(encoding="utf-8"), SCHEMA).items():
            for gate, row in gates.items():
                others[f"{lane}/{gate}"] = row["other"]
                items |= {f"{lane}/{gate}/{subject}": seconds for subject, seconds in row["items"].items()}
        return cls(items, others)

    @classmethod
    def of_run(cls, run: Run) -> Durations:
        """The durations of a Run's verdicts; the median of its gate for an item that it does not have."""
        gates = _by_gate(run)
        items = {verdict.id: verdict.seconds for verdicts in gates.values() for verdict in verdicts}
        others = {
            f"{lane}/{gate}": statistics.median(verdict.seconds for verdict in verdicts)
            for (lane, gate), verdicts in gates.items()
        }
        return cls(items, others)

    @classmethod
    def read(cls, path: str | Path) -> Durations:
        """The shipped durations, replaced by those of the Run in ``path`` where it has one; ``path`` may be "".

        Raises UserError if ``path`` cannot be read or is not a Run.
        """
        if not path:
            return cls.shipped()
        try:
            return cls.shipped().updated(cls.of_run(Run.from_json(Path(path).read_text(encoding="utf-8"))))
        except OSError as error:
            raise UserError(f"--durations {path}: {error.strerror}; give the run.json of a gate run") from None
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"--durations {path} is not a Run; give the run.json of a gate run") from None


def table(run: Run) -> dict[str, dict[str, GateSeconds]]:
    """The rows of the shipped table that ``run`` makes: by lane and gate, seconds by subject."""
    rows: dict[str, dict[str, GateSeconds]] = {}
    for (lane, gate), verdicts in sorted(_by_gate(run).items()):
        short = [verdict.seconds for verdict in verdicts if verdict.seconds < MIN_SECONDS]
        other = statistics.fmean(short) if short else statistics.median(verdict.seconds for verdict in verdicts)
        long = sorted((v for v in verdicts if v.seconds >= MIN_SECONDS), key=lambda verdict: verdict.subject)
        items = {verdict.subject: round(verdict.seconds, 1) for verdict in long}
        rows.setdefault(lane, {})[gate] = {"other": round(other, 3), "items": items}
    return rows


def _by_gate(run: Run) -> dict[tuple[str, str], list[Verdict]]:
    """The verdicts by lane and gate, without those skipped for a budget, whose seconds are meaningless."""
    verdicts_by_gate: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in run.verdicts:
        if verdict.lane and "budget" not in verdict.metrics:
            verdicts_by_gate.setdefault((verdict.lane, verdict.gate), []).append(verdict)
    return verdicts_by_gate


if __name__ == "__main__":
    lanes = checksum.opened(TABLE.read_text(encoding="utf-8"), SCHEMA) if TABLE.exists() else {}
    for file in sys.argv[1:]:
        for lane, rows in table(Run.from_json(Path(file).read_text(encoding="utf-8"))).items():
            lanes.setdefault(lane, {}).update(rows)
    write_atomically(TABLE, checksum.seal(json.dumps(lanes, indent=1, sort_keys=True) + "\n", SCHEMA))
