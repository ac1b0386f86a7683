"""The rules by which the static gate compares a configuration's machine code with the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Finding(NamedTuple):
    """What is wrong with one configuration: a phrase, the number, and its limit."""

    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    higher_is_better: bool = False


INSTRUCTIONS = 1.10  # times the baseline's
WIDTH = 0.90  # of the baseline's: bits that an instruction moves on average


def mean_width(accesses: Mapping[str, int]) -> float:
    """Bits that an instruction moves on average; 0 if there is none. ``accesses`` counts instructions by their bits."""
    count = sum(accesses.values())
    return sum(int(bits) * times for bits, times in accesses.items()) / count if count else 0.0


def _spills(now: Row, old: Row) -> Finding | None:
    if now["spills"] <= old["spills"]:
        return None
    message = f"spills {now['spills']} bytes a thread, {old['spills']} in the baseline"
    return Finding(message, now["spills"], old["spills"], "bytes spilled")


def _matrix(now: Row, old: Row) -> Finding | None:
    lost = [kind for kind in old["matrix"] if kind not in now["matrix"]]
    if not lost:
        return None
    has = ", ".join(f"{count} {kind}" for kind, count in now["matrix"].items()) or "no matrix instruction"
    had = ", ".join(f"{old['matrix'][kind]} {kind}" for kind in lost)
    message = f"lost {lost[0]}: {has}, {had} in the baseline"
    return Finding(message, 0, old["matrix"][lost[0]], f"{lost[0]} instructions", higher_is_better=True)


def _narrower(kind: str) -> Callable[[Row, Row], Finding | None]:
    def rule(now: Row, old: Row) -> Finding | None:
        width, before = mean_width(now[kind]), mean_width(old[kind])
        if width >= WIDTH * before:
            return None
        message = f"narrower {kind}: {width:.0f} bits an instruction, {before:.0f} in the baseline"
        return Finding(message, width, WIDTH * before, f"bits a {kind.removesuffix('s')}", higher_is_better=True)

    return rule


def _occupancy(now: Row, old: Row) -> Finding | None:
    if now["occupancy"] >= old["occupancy"]:
        return None
    message = (
        f"fewer resident warps: {now['occupancy']} on a multiprocessor, {old['occupancy']} in the baseline (registers "
        f"{now['registers']}, were {old['registers']}; shared {now['shared']:,} bytes, were {old['shared']:,})"
    )
    return Finding(message, now["occupancy"], old["occupancy"], "resident warps", higher_is_better=True)


def _instructions(now: Row, old: Row) -> Finding | None:
    ratio = now["instructions"] / old["instructions"]
    if ratio <= INSTRUCTIONS:
        return None
    message = f"{now['instructions']:,} instructions, {old['instructions']:,} in the baseline: {ratio - 1:+.0%}"
    return Finding(f"{message}, {INSTRUCTIONS - 1:.0%} more are allowed", ratio, INSTRUCTIONS, "x instructions")


RULES = (_spills, _matrix, _narrower("loads"), _narrower("stores"), _occupancy, _instructions)
