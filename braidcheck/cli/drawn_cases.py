"""Cases with random sizes and numbers: a function that is right only for the shapes of the op's own cases fails
here."""

from __future__ import annotations

import random
from dataclasses import replace

from braidcheck.op import Case, Op

FEWER = ("T", "B", "start", "spare")  # axes that are only made shorter, so that everything still fits into a cache
MORE = ("S", "P")
WIDTHS = ("H", "I", "K", "V")


def drawn_cases(op: Op, seed: int) -> list[Case]:
    """One for each of the op's cases that has rows and runs everywhere."""
    cases = [case for case in op.cases if 0 not in case.axes.values() and not case.large]
    return [_drawn(case, random.Random(f"{seed} {case.id}")) for case in cases]


def _drawn(case: Case, numbers: random.Random) -> Case:
    axes = dict(case.axes)
    for name, size in case.axes.items():
        if name in FEWER:
            axes[name] = numbers.randint((size + 1) // 2, size)
        elif name in MORE:
            axes[name] = numbers.randint(size, size + size // 2)
        elif name in WIDTHS:  # multiples of a vector stay multiples
            unit = 8 if size % 8 == 0 else 1
            axes[name] = unit * numbers.randint((size // unit + 1) // 2, size // unit)
    if case.get("B") == case.get("T"):
        axes |= {"B": axes["T"]} if "B" in axes else {}
    return replace(case, axes=axes, seed=numbers.randrange(1, 2**31))
