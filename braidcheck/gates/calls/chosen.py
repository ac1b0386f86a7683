"""Chooses cases for many calls: few and cheap, but with every path of the op and every dtype."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

from braidcheck.op import Case, Op

ROWS = (1, 3, 17)  # one for each range of rows with its own kernel
MANY_ROWS = 66  # enough for the persistent kernels; ops with a cache have none
SMALL_ROWS = 3  # rows
DULL = ("zero_rows", "nan", "subnormal", "largest")  # profiles in which other numbers may not show
SLOTS = 257  # slots of a cache, from which on a row is split


def chosen_cases(op: Op) -> list[Case]:
    """The cheapest cases that together cover every range of rows, set of options and dtype of the op."""
    cases = [smallest_case(op, rows) for rows in ROWS]
    if "H" in cases[0].axes and "S" not in cases[0].axes:
        cases.append(smallest_case(op, MANY_ROWS))
    known = set().union(*map(_features, cases))
    for case in sorted(map(_with_few_rows, _whole_cases(op)), key=lambda case: (case.profile in DULL, _cost(case))):
        if not (features := _features(case)) <= known:
            known |= features
            cases.append(case)
    return cases


def smallest_case(op: Op, rows: int) -> Case:
    """The cheapest of the op's cases that every kernel supports, with so many rows."""
    cases = (resized(case, rows) for case in _whole_cases(op) if "seqs" not in case.axes)
    return min(cases, key=lambda case: (needs_general_kernel(case), _cost(case)))


def cases_by_argument(op: Op) -> list[Case]:
    """The cheapest cases that together pass every tensor argument of the op, the simplest first."""
    parameters = inspect.signature(op.call).parameters
    known: set[str] = set()
    cases: list[Case] = []
    for case in sorted(map(_with_few_rows, _whole_cases(op)), key=_cost):
        tensors = {name for name in case.needs if "Tensor" in str(parameters[name].annotation)}
        if (not cases and not tensors) or not tensors <= known:
            known |= tensors
            cases.append(case)
    return sorted(cases, key=lambda case: len(case.needs))


def rows_axis(case: Case) -> str:
    """The axis of the case's rows."""
    return "T" if "T" in case.axes else "B"


def resized(case: Case, rows: int, slots: int = 0) -> Case:
    """``case`` with so many rows, and a cache of ``slots`` or the minimum that it then needs."""
    axes = {**case.axes, rows_axis(case): rows}
    if "T" in axes and case.get("B") == case["T"]:
        axes["B"] = rows  # a decode step has a token for each row of the cache
    if "S" in axes:
        axes["S"] = max(slots, case.get("start") + axes.get("T", 1))
    if "P" in axes:
        axes["P"] = max(axes["P"], rows)
    return replace(case, axes=axes)


def _whole_cases(op: Op) -> list[Case]:
    """The op's cases that have rows and run everywhere."""
    return [case for case in op.cases if 0 not in case.axes.values() and not case.large]


def _with_few_rows(case: Case) -> Case:
    rows = max(min(SMALL_ROWS, case[rows_axis(case)]), 2 * case.get("seqs"))
    return resized(case, rows, min(SLOTS, case.get("S")))


def _cost(case: Case) -> int:
    """A measure of how long a case takes, in no unit."""
    options = sum(name[0].islower() for name in case.axes)
    heads = case.get("Hq") + 2 * case.get("Hkv") or 1
    return math.prod(case.get(name, 1) for name in ("T", "B", "S", "H", "I", "K", "V", "D")) * heads * 2**options


def needs_general_kernel(case: Case) -> bool:
    """Whether kernels with tensor descriptors do not support the case."""
    widths = [size for name, size in case.axes.items() if name in ("H", "I", "K", "V")]
    return bool(widths) and (case.dtype == "float32" or any(width % 16 for width in widths))


def _features(case: Case) -> set[object]:
    options = tuple(sorted(name for name in case.axes if name[0].islower() and len(name) > 1))
    decode = case.get("B") == case.get("T")
    return {("options", options, decode), ("dtype", case.dtype), ("split", case.get("S") >= SLOTS)}
