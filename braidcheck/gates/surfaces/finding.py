"""What separates the requests that went wrong from those that went right, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

from braidcheck.gates.surfaces.evidence import ANOTHER, LONGER, PREFIX, Outcome

Rule = tuple[str, Callable[[Outcome], bool]]

PHASES = {
    "prefill": "in the logits of a prompt",
    "greedy": "in greedy answers",
    "stop": "where a stop token ends an answer",
    "stream": "in streams",
}
MAX_PAIRED = 2


def separate(outcomes: Sequence[Outcome]) -> str:
    """The simplest rule that holds for all that is wrong and for nothing that is right, in words.

    Where there is none, the rule that holds for all that is wrong and for the least that is right. Empty where nothing
    is wrong.
    """
    wrong = [outcome for outcome in outcomes if outcome["wrong_at"] is not None]
    right = [outcome for outcome in outcomes if outcome["wrong_at"] is None]
    if not wrong:
        return ""
    if not right:
        return f"on every surface, {_position(wrong)}"
    holding = [rule for rule in _rules(wrong) if all(rule[1](outcome) for outcome in wrong)]
    chosen = min(_combined(holding), key=lambda rules: (_exceptions(rules, right), len(rules)), default=())
    if not chosen:
        return f"on no one surface: {len(wrong)} of {len(outcomes)} requests are wrong, {_position(wrong)}"
    text = " and ".join(words for words, _ in chosen)
    exceptions = _exceptions(chosen, right)
    often = f" (of these {len(wrong)} of {len(wrong) + exceptions} are wrong)" if exceptions else ""
    return f"only {text}{often}" + ("" if "position" in text else f", {_position(wrong)}")


def _combined(rules: Sequence[Rule]) -> Iterator[tuple[Rule, ...]]:
    for count in range(1, MAX_PAIRED + 1):
        yield from combinations(rules, count)


def _exceptions(rules: Sequence[Rule], right: Sequence[Outcome]) -> int:
    return sum(all(holds(outcome) for _, holds in rules) for outcome in right)


def _rules(wrong: Sequence[Outcome]) -> Iterator[Rule]:
    """Rules from the most telling to the least: of equal ones the first is said."""
    yield from ((f"after {after}", partial(_came_after, after)) for after in (ANOTHER, LONGER, PREFIX))
    yield "for concurrent requests", lambda one: one["together"]
    yield "in batches", lambda one: one["batch"] > 1
    batch = min(one["batch"] for one in wrong)
    if batch > 2:
        yield f"in batches of {batch} and more", lambda one: one["batch"] >= batch
    yield "in ragged batches", lambda one: one["batch"] > 1 and one["ragged"]
    yield "in batches of equal lengths", lambda one: one["batch"] > 1 and not one["ragged"]
    yield "in rows behind a batch's first", lambda one: one["row"] > 0
    yield from ((words, partial(_is_phase, phase)) for phase, words in PHASES.items())
    yield "in generated tokens", lambda one: one["phase"] != "prefill"
    first = min(one["wrong_at"] or 0 for one in wrong)
    if first:
        yield f"from position {first} on", lambda one: one["last"] >= first
    length = min(one["length"] for one in wrong)
    if length > 1:
        yield f"for prompts of {length} tokens and more", lambda one: one["length"] >= length


def _came_after(after: str, one: Outcome) -> bool:
    return after in one["after"]


def _is_phase(phase: str, one: Outcome) -> bool:
    return one["phase"] == phase


def _position(wrong: Sequence[Outcome]) -> str:
    return f"first at position {min(one['wrong_at'] or 0 for one in wrong)}"
