"""Splits a suite over machines, identically on each, and merges the shards' Runs."""

from __future__ import annotations

import hashlib
import heapq
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from braidcheck.ci.history import hardware
from braidcheck.errors import UserError
from braidcheck.result import Run


class Suite(TypedDict):
    """A whole suite: the number of its items, and the SHA-256 of their sorted ids."""

    items: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that ``K/N`` names. Raises UserError unless 1 <= K <= N."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {text}: give K/N with 1 <= K <= N, such as 1/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def partition(
    units: Mapping[str, float], count: int, first: Collection[str] = (), preload: float = 0.0
) -> dict[str, int]:
    """The shard, from 1 to ``count``, of each of ``units``, which are given with their seconds.

    The longest unit goes first, to the shard that has least to do; ties go by name, so every machine finds the same.
    The units in ``first`` go to shard 1, which has ``preload`` seconds of other work.
    """
    shard_of = {unit: 1 for unit in units if unit in first}
    heap = [(0.0, 0, index) for index in range(2, count + 1)]
    heapq.heappush(heap, (preload + sum(units[unit] for unit in sorted(shard_of)), len(shard_of), 1))
    for unit in sorted(units.keys() - shard_of.keys(), key=lambda unit: (-units[unit], unit)):
        seconds, size, index = heap[0]
        shard_of[unit] = index
        heapq.heapreplace(heap, (seconds + units[unit], size + 1, index))
    return shard_of


def suite_of(ids: Iterable[str]) -> Suite:
    """The whole suite as recorded in a shard's Run: the number of its items, and the SHA-256 of their sorted ids."""
    names = sorted(set(ids))
    return {"items": len(names), "sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}


def merge(runs: Mapping[str, Run]) -> Run:
    """One Run of all shards, which are given by file name. Raises UserError if they do not fit together: another
    commit, machine or call, an overlap, a gap.
    """
    for file, run in runs.items():
        _check_shard(file, run)
    _check_alike(runs)
    _check_whole(runs)
    ordered = sorted(runs.values(), key=lambda run: Shard.parse(run.environment["shard"]).index)
    merged = Run.merge(ordered)
    seen = {key: value for key, value in merged.environment.items() if key not in ("shard", "suite")}
    seen["command"] = _call(ordered[0])
    seen["started"] = min(str(run.environment["started"]) for run in ordered)
    seen["seconds"] = max(run.environment.get("seconds", 0.0) for run in ordered)  # they ran beside each other
    seen["shards"] = {run.environment["shard"]: f"{run.environment.get('seconds', 0.0):g} s" for run in ordered}
    return replace(merged, environment=seen)


def _check_shard(file: str, run: Run) -> None:
    """Refuse a Run that is not a valid shard."""
    seen = run.environment
    commit = str(seen.get("commit") or "")
    clean = commit.removesuffix("+")
    if not seen.get("shard"):
        raise UserError(f"{file} is not a shard; make it with: braidcheck gate --shard K/N")
    if not (seen.get("suite") and seen.get("started")):
        raise UserError(f"{file}: shard {seen['shard']} ended before it knew the suite's items; run it again")
    if not commit:
        raise UserError(f"{file}: its commit is not known; run the shards from a git checkout")
    if clean != commit:
        raise UserError(f"{file}: its tree differs from commit {clean[:12]}; commit, then run the shards again")


def _check_alike(runs: Mapping[str, Run]) -> None:
    """Refuse Runs that differ in settings that all shards must share."""
    (first, one), *others = runs.items()
    for file, run in others:
        for what, read in SAME.items():
            if read(one) != read(run):
                raise UserError(
                    f"{first} and {file} differ in {what}: {_said(read(one))} and {_said(read(run))};"
                    " run all shards alike"
                )


def _check_whole(runs: Mapping[str, Run]) -> None:
    """Refuse duplicate or missing shards or items."""
    shards: dict[Shard, str] = {}
    owner: dict[str, str] = {}
    for file, run in runs.items():
        shard = Shard.parse(run.environment["shard"])
        if shard in shards:
            raise UserError(f"{shards[shard]} and {file} overlap: both are shard {shard}; give each shard once")
        shards[shard] = file
        for name in dict.fromkeys((*run.expected, *(verdict.id for verdict in run.verdicts))):
            if name in owner:
                raise UserError(f"{owner[name]} and {file} overlap: both have {name}; run all with one --durations")
            owner[name] = file
    count = next(iter(shards)).count
    if missing := [index for index in range(1, count + 1) if Shard(index, count) not in shards]:
        names = ", ".join(f"{index}/{count}" for index in missing)
        raise UserError(f"a gap: no Run of shard {names}; run it with: braidcheck gate --shard {missing[0]}/{count}")
    suite = next(iter(runs.values())).environment["suite"]
    expected = suite_of(name for run in runs.values() for name in run.expected)
    if expected != suite:
        raise UserError(
            f"a gap: the shards expected {expected['items']} of the suite's {suite['items']} items;"
            " run all again with one commit and one --durations"
        )


def _call(run: Run) -> str:
    """The command of a Run without its shard."""
    words = shlex.split(str(run.environment.get("command", "")))
    at = words.index("--shard") if "--shard" in words else len(words)
    return shlex.join(words[:at] + words[at + 2 :])


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item) or "none"
    return str(value) or "none"


# The settings that all shards must share, as messages name them.
SAME: Mapping[str, Callable[[Run], object]] = {
    "the number of shards": lambda run: Shard.parse(run.environment["shard"]).count,
    "commit": lambda run: run.environment["commit"],
    "command": _call,
    "hardware": lambda run: hardware(run.environment),
    "driver": lambda run: run.environment.get("driver", ""),
    "libraries": lambda run: run.environment.get("libraries", {}),
    "the items of the suite": lambda run: run.environment["suite"],
}
