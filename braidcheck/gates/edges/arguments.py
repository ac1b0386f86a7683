"""Calls an op with one argument changed: the answer is right within its bound, or a ValueError names the argument.
Changes follow from the arguments' types, not from what an op declares about them, so a missing validation rule shows.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.edges.changes import Change, named_changes
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import error_ratios
from braidcheck.op import Case, Inputs, Op

SMALL = {
    "T": 5, "B": 5, "H": 48, "K": 48, "Hq": 4, "Hkv": 2, "D": 16, "P": 40, "S": 24, "V": 70, "I": 24,
    "start": 3, "spare": 0,
}  # fmt: skip
WRITTEN = ("out", "split_counter")  # internal, not in contracts


def small_case(case: Case) -> Case:
    """The case with small sizes: these checks do not depend on sizes."""
    return replace(case, axes={axis: min(size, SMALL.get(axis, size)) for axis, size in case.axes.items()})


def violation(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The first change of an argument that ``call`` answers wrongly, as text."""
    for inputs in calls(op, device):
        for name, kind, wrong in outcomes(op, call, inputs, thorough=False):
            if wrong:
                return f"{name} {kind}: {wrong}"
    for kind, wrong in axis_outcomes(op, call, device):
        if wrong:
            return f"{kind}: {wrong}"
    return None


def axis_outcomes(
    op: Op, call: Callable[..., Any], device: str, sizes: tuple[int, ...] = (0,)
) -> Iterator[tuple[str, str | None]]:
    """One axis set to one of these sizes in all tensors that have it; and what was wrong with the answer."""
    names = "|".join(inspect.signature(op.call).parameters)
    for case in _cases(op):
        for axis, size in ((axis, size) for axis in case.axes if axis in SMALL for size in sizes):
            changed = replace(case, axes={**case.axes, axis: size})
            try:
                op.inputs(changed, device)
            except (RuntimeError, ValueError, ZeroDivisionError, IndexError):
                continue  # there are no such inputs
            yield f"{axis} of {size} in {case.id}", wrong_answer(op, call, names, partial(op.inputs, changed, device))


def calls(op: Op, device: str) -> list[Inputs]:
    """Small calls that together pass every argument, as few as possible."""
    return [with_outputs(op, op.inputs(case, device)) for case in _cases(op)]


def _cases(op: Op) -> list[Case]:
    """The fewest small cases that together pass and omit every argument and set every switch of the op's cases."""
    cases = [case for case in map(small_case, op.cases) if case.get("T", case.get("B")) > 1]
    found, asked = [], set[str]()
    for traits, case in sorted(((_traits(op, case), case) for case in cases), key=lambda pair: -len(pair[0])):
        if traits - asked:
            asked |= traits
            found.append(case)
    return found


def _traits(op: Op, case: Case) -> set[str]:
    names = set(op.inputs(case, "cpu"))
    absent = {f"no {name}" for name in set(inspect.signature(op.call).parameters) - names}
    switches = {axis for axis in case.axes if axis not in SMALL}
    return names | absent | switches | {f"decode {case.get('T', 1) == case.get('B', 1)}"}


def with_outputs(op: Op, inputs: Inputs) -> Inputs:
    """Adds preallocated outputs, which no case passes."""
    parameters = inspect.signature(op.call).parameters
    if "split_counter" in parameters:
        k = inputs["k"]
        inputs |= {"split_counter": torch.zeros(k.shape[:2], dtype=torch.int32, device=k.device)}
    if "out" in parameters:
        inputs |= {"out": torch.zeros_like(inputs["x"], dtype=inputs.get("out_dtype", torch.float32))}
    return inputs


def outcomes(op: Op, call: Callable[..., Any], inputs: Inputs, thorough: bool) -> Iterator[tuple[str, str, str | None]]:
    """Argument, change, and what was wrong with the answer, for each change of each argument by itself."""
    for name, kind, change in call_changes(op, inputs, thorough):
        yield name, kind, wrong_answer(op, call, name, partial(with_changes, inputs, change))


def with_changes(inputs: Inputs, *changes: Change) -> Inputs:
    """Fresh tensors each time: a call may write into them, and clones lose strides."""
    fresh = copies(inputs)
    return functools.reduce(lambda given, change: given | change(given), changes, fresh)


def call_changes(op: Op, inputs: Inputs, thorough: bool) -> Iterator[tuple[str, str, Change]]:
    """Argument, the change as text, and the changed arguments of the call."""
    for name, parameter in inspect.signature(op.call).parameters.items():
        default = parameter.default
        for kind, change in named_changes(inputs.get(name, default), thorough):
            yield name, kind, partial(_one_changed, name=name, default=default, change=change)
    for name in (*op.contract.mutates, *(name for name in WRITTEN if name in inputs)):
        for other, value in inputs.items():
            if other != name and isinstance(value, Tensor) and value.dtype == inputs[name].dtype:
                yield name, f"sharing memory with {other}", partial(_overlapping, name=name, other=other)


def _one_changed(given: Inputs, name: str, default: Any, change: Change) -> Inputs:
    return {name: change(given.get(name, default))}


def _overlapping(given: Inputs, name: str, other: str) -> Inputs:
    """Both with their values, except for one shared element: the last of one and the first of the other."""
    first, second = given[name], given[other]
    memory = torch.cat([first.flatten(), second.flatten()[1:]])
    return {name: memory[: first.numel()].view(first.shape), other: memory[first.numel() - 1 :].view(second.shape)}


def wrong_answer(op: Op, call: Callable[..., Any], name: str, changed: Callable[[], Inputs]) -> str | None:
    """What is wrong with the answer to ``changed()``, as text; ``name`` is a pattern that a refusal must match."""
    given = changed()
    try:
        with poisoned_outputs():
            got = run(op, call, given)
    except ValueError as error:
        return None if re.search(rf"\b({name})\b", str(error)) else f"the refusal does not name it: {error}"
    except Exception as error:  # a crash: a refusal is a ValueError
        return f"{type(error).__name__} instead of ValueError: {str(error).strip()[:80]}"
    try:
        exact, bounds = run(op, op.reference, in_float64(changed())), op.bound(**changed())
    except Exception as error:  # whatever PyTorch raises for arguments that make no sense
        return f"the call accepts it, but the reference cannot compute it: {str(error).strip()[:80]}"
    for output, value, truth, bound in zip(op.outputs, got, exact, bounds, strict=False):
        if value.shape != truth.shape:
            return f"{output} has shape {list(value.shape)}, must have {list(truth.shape)}"
        dtype = str(op.contract.output_dtype(output, given)).removeprefix("torch.")
        if str(value.dtype) != f"torch.{dtype}":
            return f"{output} has dtype {str(value.dtype).removeprefix('torch.')}, must have {dtype}"
        if not (worst := _largest_ratio(value, truth, bound)) <= 1:
            return f"{output} is wrong by {worst:.3g} times its bound"
    return None


def _largest_ratio(value: Tensor, truth: Tensor, bound: Tensor) -> float:
    """The largest error ratio; if the answer or its bound is not finite, the value must not be finite either."""
    if not value.numel():
        return 0.0
    if not value.is_floating_point():
        return float(error_ratios(value, truth, bound).max())
    ratios = error_ratios(value, truth, bound.expand(truth.shape))
    known = truth.isfinite() & bound.expand(truth.shape).isfinite()
    invented = ~truth.isfinite() & value.isfinite()
    return float(torch.where(known, ratios, torch.where(invented, torch.inf, 0.0)).max())
