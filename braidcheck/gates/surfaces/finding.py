"""Finds the rule that separates wrong answers from right ones, as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from itertools import combinations
from operator import and_

from braidcheck.gates.surfaces.evidence import AFTER, Outcome

Rule = tuple[str, Callable[[Outcome], bool]]

PHASES = {
    "prefill": "in the logits of a prompt",
    "greedy": "in greedy answers",
    "stop": "where a stop token ends an answer",
    "stream": "in streams",
}
OVERFLOW = "all wrong logits are NaN or infinite: does a number overflow? Float16 ends at 65,504"
MAX_RULES = 3
MANY = 8  # prompts: fewer are "another request"
SLACK = 0.5  # cells: a simpler rule is preferred if a longer one excludes at most this much more that is right


def separate(cells: Sequence[Sequence[Outcome]]) -> str:
    """The simplest rule that holds for all wrong answers and for no right one, as text. If there is none, one that
    holds for all wrong answers and for few right ones; all ``cells`` have equal weight, regardless of their number of
    outcomes. Empty if nothing is wrong.
    """
    wrong = [outcome for cell in cells for outcome in cell if outcome["wrong_at"] is not None]
    logits = [outcome for outcome in wrong if outcome["phase"] == "prefill"]  # tokens follow from them
    overflows = logits and not any(outcome["finite"] for outcome in logits)
    return _separating(cells) + (f"; {OVERFLOW}" if overflows else "")


def _separating(cells: Sequence[Sequence[Outcome]]) -> str:
    outcomes = [outcome for cell in cells for outcome in cell]
    wrong = [outcome for outcome in outcomes if outcome["wrong_at"] is not None]
    if not wrong:
        return ""
    if len(wrong) == len(outcomes):
        return f"on every surface, {_position(wrong)}"
    right = [outcome for outcome in outcomes if outcome["wrong_at"] is None]
    chosen, held = _best([rule for rule in _rules(wrong, right) if all(map(rule[1], wrong))], cells)
    if not chosen:
        return f"on no single surface: {len(wrong)} of {len(outcomes)} answers are wrong, {_position(wrong)}"
    text = " and ".join(chosen)
    often = f" (of these {len(wrong)} of {held} are wrong)" if held > len(wrong) else ""
    return f"only {text}{often}" + ("" if "position" in text else f", {_position(wrong)}")


def _best(rules: Sequence[Rule], cells: Sequence[Sequence[Outcome]]) -> tuple[tuple[str, ...], int]:
    """The words of the simplest of the rules, or of up to MAX_RULES together, that hold for nearly nothing that is
    right; and the outcomes for which they hold."""
    outcomes = [(outcome, number) for number, cell in enumerate(cells) for outcome in cell]
    holds = {words: sum(rule(one) << index for index, (one, _) in enumerate(outcomes)) for words, rule in rules}
    right = [0] * len(cells)  # the right outcomes of each cell, a bit each
    for index, (outcome, number) in enumerate(outcomes):
        right[number] |= (outcome["wrong_at"] is None) << index
    exceptions = {}
    for some in (some for count in range(1, MAX_RULES + 1) for some in combinations(holds, count)):
        held = reduce(and_, (holds[words] for words in some))
        parts = ((held & mask).bit_count() / len(cell) for mask, cell in zip(right, cells, strict=True) if cell)
        exceptions[some] = sum(parts), held.bit_count()
    best = min((part for part, _ in exceptions.values()), default=0.0)
    # A rule that holds for all outcomes is useless.
    near = ((some, held) for some, (part, held) in exceptions.items() if part <= best + SLACK and held < len(outcomes))
    return next(near, ((), 0))


def _rules(wrong: Sequence[Outcome], right: Sequence[Outcome]) -> Iterator[Rule]:
    """Rules from the most to the least informative: among equals the first is reported."""
    *rare, same, longer, another = ((f"after {after}", partial(_came_after, after)) for after in AFTER)
    yield from rare
    yield "for concurrent requests", lambda one: one["together"]
    yield "outside of batches", lambda one: one["batch"] == 1
    yield "in batches", lambda one: one["batch"] > 1
    batch = min(one["batch"] for one in wrong)
    if batch > 2:
        yield f"in batches of {batch} and more", lambda one: one["batch"] >= batch
    largest = max(one["batch"] for one in wrong)
    if 1 < batch < largest < max((one["batch"] for one in right), default=0):
        yield f"in batches of {batch} to {largest}", lambda one: batch <= one["batch"] <= largest
    yield "in ragged batches", lambda one: one["batch"] > 1 and one["ragged"]
    yield "in batches of equal lengths", lambda one: one["batch"] > 1 and not one["ragged"]
    yield "in rows after a batch's first", lambda one: one["row"] > 0
    yield from (same, longer, another)  # these hold for most
    yield from ((words, partial(_is_phase, phase)) for phase, words in PHASES.items())
    yield "in generated tokens", lambda one: one["phase"] != "prefill"
    first = min(one["wrong_at"] or 0 for one in wrong)
    if first:
        yield f"from position {first} on", lambda one: one["last"] >= first
    before = min(one["before"] for one in wrong)
    earlier = {_kind(one) for one in right if one["before"] < before}
    if before >= MANY and earlier.issuperset(map(_kind, wrong)):  # else the position follows from other differences
        yield f"after {before} other prompts and more", lambda one: one["before"] >= before
    length = min(one["length"] for one in wrong)
    if length > 1:
        yield f"for prompts of {length} tokens and more", lambda one: one["length"] >= length


def _kind(one: Outcome) -> tuple[str, bool, bool]:
    return one["phase"], one["batch"] > 1, one["ragged"]


def _came_after(after: str, one: Outcome) -> bool:
    return after in one["after"]


def _is_phase(phase: str, one: Outcome) -> bool:
    return one["phase"] == phase


def _position(wrong: Sequence[Outcome]) -> str:
    return f"first at position {min(one['wrong_at'] or 0 for one in wrong)}"
