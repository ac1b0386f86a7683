"""How much extra work makes a kernel slower by so much: found by trying, since work may hide behind memory.

What is seen grows with the amount, but in no known way: nothing while loads are waited for, then in proportion, or
steeply at first. So the wanted slow-down is put between two amounts that were tried, and the gap between them narrowed,
in turns by a straight line and by halves: the line is quick where it is right, halves where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

ACCEPTED_RATIO = 0.7, 1.5  # times what is wanted: so far off may be what came of it
CLOSE = 0.8, 1.3  # and what is no further off in a probe, which is short, needs no other
FIRST_TRY = 400  # multiply-adds of the first try
MAX_GROWTH = 4  # by which a try may exceed all that were too little
MAX_MULTIPLY_ADDS = 100_000  # multiply-adds, 0.2 ms: what does not show by then does not run
ROUNDS = 10

Tries = Mapping[str, int]
Points = dict[str, dict[int, float]]  # by series, what each amount came to, in logarithms


def near(seen: float, target: float, within: tuple[float, float] = ACCEPTED_RATIO) -> bool:
    """Whether a slow-down is one that was wanted (both as logarithms)."""
    return within[0] * target <= seen <= within[1] * target


def next_try(points: Mapping[int, float], target: float, halve: bool) -> int | None:
    """An amount between the largest that was too little and the least above it that was too much; None for no room."""
    known = {0: 0.0, **points}
    low = max(amount for amount, seen in known.items() if amount == 0 or seen < target)
    high = min((amount for amount, seen in known.items() if amount > low), default=None)
    if high is None and low >= MAX_MULTIPLY_ADDS:
        return None
    if high is None:
        steep = known[low] > target / MAX_GROWTH
        return round(low * target / known[low]) + 1 if steep else MAX_GROWTH * low or FIRST_TRY
    if high - low < 2:
        return None
    halve = halve or bool(low and known[low] < target / 10)  # work still hides there: no line leads away from it
    part = 0.5 if halve else (target - known[low]) / (known[high] - known[low])
    return min(max(low + round(part * (high - low)), low + 1), high - 1)


def search(
    target: float, points: Points, probe: Callable[[Tries], Mapping[str, float]], more: Callable[[], bool]
) -> dict[str, int]:
    """By series the amount that came nearest to ``target``, of those that came near it; other series are left out.

    ``probe(tries)`` says what an amount for each came to, as far as it could be seen, and ``points``, which tells what
    is known of each, is filled with it; ``more()`` whether there is time for another probe.
    """
    for number in range(ROUNDS):
        lost = [name for name, known in points.items() if not any(near(s, target, CLOSE) for s in known.values())]
        halve = number > 1 and number % 2 == 0
        tries = {name: amount for name in lost if (amount := next_try(points[name], target, halve))}
        if not tries or not more():
            break
        for name, seen in probe(tries).items():
            points[name][tries[name]] = seen
    ratios = {}
    for name, known in points.items():
        _, amount = min(((abs(seen - target), amount) for amount, seen in known.items()), default=(0.0, 0))
        if amount and near(known[amount], target):
            ratios[name] = amount
    return ratios
