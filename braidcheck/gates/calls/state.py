"""Repeated calls: results kept, other values, other sizes, the same inputs again, reused memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from braidcheck.gates.calls.chosen import chosen_cases, resized, smallest_case
from braidcheck.gates.calls.memory import Garbage
from braidcheck.gates.calls.numbers import with_other_numbers
from braidcheck.gates.calls.observe import Held, Outputs, observed, require_contiguous_rows, require_right, require_same
from braidcheck.numerics.calls import copies
from braidcheck.op import Case, Inputs, Op

CALLS = 12  # calls on one shape, after about 50 of the other checks
LONG = 150  # slots of a cache
REFUSALS = ValueError, NotImplementedError, AssertionError

Call = Callable[..., Any]


def state_checks(op: Op, call: Call, device: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and checks; a check raises ViolationError."""
    cases = chosen_cases(op)
    for case in cases:
        yield f"called again on {case.id}", partial(check_again, op, call, case, device)
    yield "called among other calls", partial(check_among_others, op, call, cases, device)
    yield f"called {CALLS} times", partial(check_many_times, op, call, smallest_case(op, 1), device)


def check_again(op: Op, call: Call, case: Case, device: str) -> None:
    """The first result stays intact, other values give other results, and the first values give the first bits
    again."""
    held = Held(op)
    inputs, others = op.inputs(case, device), op.inputs(replace(case, seed=case.seed + 1), device)
    place = copies(inputs)
    first = held.hold(observed(op, call, place))
    require_contiguous_rows(op, held.results[0][0], device)
    others, outputs, garbage = _served(op, call, with_other_numbers(others, inputs), others)
    second = held.hold(outputs)
    require_right(op, others, second, "with other values of the same shape")
    held.require_kept()
    with Garbage(garbage):
        again = held.hold(observed(op, call, copies(inputs)))
    require_same(op, first, again, "when the same inputs are given again after others, in memory that was used before")
    held.require_kept()
    _overwrite(place, others)
    moved = observed(op, call, place | _plain(others))
    require_same(op, second, moved, "when its inputs hold other values where they lie")


def check_among_others(op: Op, call: Call, cases: list[Case], device: str) -> None:
    """Short, long and short again, with options and without, then all of them in reverse order; each result is kept."""
    middle = smallest_case(op, 3)
    sizes = [middle, resized(middle, 7, LONG), resized(middle, 1), middle]
    options = [case for case in cases if any(name[0].islower() for name in case.axes)]
    other_inputs = [op.inputs(case, device) for case in (*sizes, *options)]
    held, results = Held(op), list[Outputs]()
    for inputs in other_inputs:
        results.append(held.hold(observed(op, call, copies(inputs))))
    for case, inputs, result in zip(sizes, other_inputs, results, strict=False):
        require_right(op, inputs, result, f"at {case.id} among calls of other sizes")
    for inputs, result in reversed(list(zip(other_inputs, results, strict=True))):
        require_same(op, result, observed(op, call, copies(inputs)), "when other sizes and options came before")
    held.require_kept()


def check_many_times(op: Op, call: Call, case: Case, device: str) -> None:
    """Every call gives the bits of the first."""
    inputs = op.inputs(case, device)
    first = tuple(value.clone() for value in observed(op, call, copies(inputs)))
    for number in range(2, CALLS + 1):
        require_same(op, first, observed(op, call, copies(inputs)), f"at call {number}")


def _served(op: Op, call: Call, inputs: Inputs, plain: Inputs) -> tuple[Inputs, Outputs, Garbage]:
    """``inputs``, or ``plain`` if the kernel refuses other numbers; the outputs, and the memory that was used."""
    with suppress(*REFUSALS), Garbage() as garbage:
        return inputs, observed(op, call, copies(inputs)), garbage
    with Garbage() as garbage:
        return plain, observed(op, call, copies(plain)), garbage


def _overwrite(place: Inputs, values: Inputs) -> None:
    for name, value in place.items():
        if isinstance(value, Tensor):
            value.copy_(values[name])


def _plain(inputs: Inputs) -> Inputs:
    return {name: value for name, value in inputs.items() if not isinstance(value, Tensor)}
