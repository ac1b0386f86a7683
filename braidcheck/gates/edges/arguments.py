"""An op's call with one argument changed: the answer is right within its bound, or ValueError names the argument.

Changes are made of the arguments' kinds alone, not of what an op declares of them: a rule that is missing there shows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import error_ratios
from braidcheck.op import Case, Inputs, Op

SMALL = {"T": 5, "B": 5, "H": 48, "K": 48, "Hq": 4, "Hkv": 2, "D": 16, "P": 40, "S": 24, "V": 70, "I": 24, "start": 3}
Change = Callable[[Any], Any]  # of a fresh copy of one argument's value

FOREIGN_DTYPES = (torch.float64, torch.float8_e4m3fn, torch.complex64, torch.int16, torch.int32)
SERVED_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64)  # by some op, for some argument
WRITTEN = ("out", "split_counter")  # not in contracts: no result
INDEX_VALUES = (-1, 2**20, 2**32 + 1)
MORE_INDEX_VALUES = (-7, 2**31 - 1, -(2**31), 2**32, -(2**32) + 1, 2**62)
NUMBERS = {"negative": -1, "zero": 0, "NaN": float("nan"), "infinite": float("inf"), "minus infinity": float("-inf"),
           "past float32": 1e300, "below float32": 1e-300, "huge": 2**70, "bool": True, "missing": None,
           "text": "1", "a tensor": torch.tensor(1.0)}  # fmt: skip


def named_changes(value: Any, thorough: bool) -> Iterator[tuple[str, Change]]:
    """The changes of one argument. ``thorough``: those too that ops serve, for which a GPU compiles kernels anew."""
    if isinstance(value, Tensor):
        yield from _shapes(value, thorough)
        yield from _dtypes(value, thorough)
        yield from _strides(value, thorough)
        yield from _values(value, thorough)
        yield from {"missing": lambda _: None, "a list": Tensor.tolist, "on no device": lambda x: x.to("meta"),
                    "sparse": Tensor.to_sparse}.items()  # fmt: skip
    elif isinstance(value, int | float | str | torch.dtype) or value is None:
        numbers = dict(NUMBERS)
        if isinstance(value, int):
            numbers |= {"one more": value + 1, "one less": value - 1, "a float": float(value)}
        numbers |= {"a dtype": torch.float64, "an integer dtype": torch.int32, "another text": "other"}
        yield from ((kind, lambda _, number=number: number) for kind, number in numbers.items())


def _shapes(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for axis in range(value.dim()):
        yield f"axis {axis} longer", lambda x, axis=axis: torch.cat([x, x.narrow(axis, 0, 1)], axis)
        yield f"axis {axis} shorter", lambda x, axis=axis: x.narrow(axis, 0, x.shape[axis] - 1).contiguous()
        yield f"axis {axis} empty", lambda x, axis=axis: x.narrow(axis, 0, 0).contiguous()
        if thorough:
            yield f"axis {axis} of one", lambda x, axis=axis: x.narrow(axis, 0, 1).contiguous()
    yield "one axis more", lambda x: x[None]
    yield "one axis less", lambda x: x[0]
    if thorough:  # an op that took it would fill the memory
        yield "huge", lambda x: x[:1].expand(2**31, *x.shape[1:])


def _dtypes(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for dtype in FOREIGN_DTYPES + SERVED_DTYPES * thorough:
        if dtype != value.dtype:
            yield f"{dtype}", lambda x, dtype=dtype: x.nan_to_num(0.5).to(dtype)


def _strides(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    for axis in range(value.dim()) if thorough else (-1,):
        yield f"axis {axis} of stride 2", lambda x, axis=axis: _stepped(x, axis % x.dim())
    for axis in range(value.dim()) if thorough else (0,):
        yield f"axis {axis} expanded", lambda x, axis=axis: x.narrow(axis, 0, 1).expand(x.shape)
    if value.dim() > 1:
        yield "transposed", lambda x: x.transpose(0, -1).contiguous().transpose(0, -1)
        yield "inner axes transposed", lambda x: x.transpose(-2, -1).contiguous().transpose(-2, -1)
    if thorough:
        yield "one element further", lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


def _stepped(x: Tensor, axis: int) -> Tensor:
    """x in every second element along ``axis``; what lies between reads as 1e3: plausible, and wrong."""
    between = torch.full_like(x, 1e3) if x.is_floating_point() else x + 1
    return torch.stack([x, between], axis + 1).select(axis + 1, 0)


def _values(value: Tensor, thorough: bool) -> Iterator[tuple[str, Change]]:
    if value.is_floating_point():
        yield "NaN in it", lambda x: x.index_fill(-1, torch.tensor([0], device=x.device), torch.nan)
        return
    for number in INDEX_VALUES + MORE_INDEX_VALUES * thorough:
        if torch.iinfo(value.dtype).min <= number <= torch.iinfo(value.dtype).max:
            index = 0 if number < 0 else -1
            yield f"{number} at {index}", lambda x, i=index, n=number: _with_entry(x, i, n)


def _with_entry(x: Tensor, index: int, number: int) -> Tensor:
    if len(x):
        x[index] = number
    return x


def small_case(case: Case) -> Case:
    """The case in small sizes: what is asked here depends on none."""
    return replace(case, axes={axis: min(size, SMALL.get(axis, size)) for axis, size in case.axes.items()})


def violation(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The first change of an argument that ``call`` answers wrongly, in words."""
    for inputs in calls(op, device):
        for name, kind, wrong in outcomes(op, call, inputs, thorough=False):
            if wrong:
                return f"{name} {kind}: {wrong}"
    return None


def calls(op: Op, device: str) -> list[Inputs]:
    """Small calls in which every argument is given: as few as cases allow."""
    found: list[Inputs] = []
    cases = [case for case in op.cases if not case.large and case.get("T", case.get("B")) > 1]
    given = [_with_outputs(op, op.inputs(small_case(case), device)) for case in cases]
    asked: set[str] = set()
    for inputs in sorted(given, key=len, reverse=True):
        if inputs.keys() - asked:
            asked |= inputs.keys()
            found.append(inputs)
    return found


def _with_outputs(op: Op, inputs: Inputs) -> Inputs:
    """And what a caller may give for the op to write to, which no case does."""
    parameters = inspect.signature(op.call).parameters
    if "split_counter" in parameters:
        k = inputs["k"]
        inputs |= {"split_counter": torch.zeros(k.shape[:2], dtype=torch.int32, device=k.device)}
    if "out" in parameters:
        inputs |= {"out": torch.zeros_like(inputs["x"], dtype=inputs.get("out_dtype", torch.float32))}
    return inputs


def outcomes(op: Op, call: Callable[..., Any], inputs: Inputs, thorough: bool) -> Iterator[tuple[str, str, str | None]]:
    """Argument, change, and what was wrong with the answer: of each change of each argument by itself."""
    for name, kind, changed in _changed_inputs(op, inputs, thorough):
        yield name, kind, _wrong(op, call, name, lambda changed=changed: changed(copies(inputs)))


def _changed_inputs(op: Op, inputs: Inputs, thorough: bool) -> Iterator[tuple[str, str, Callable[[Inputs], Inputs]]]:
    for name, parameter in inspect.signature(op.call).parameters.items():
        default = parameter.default
        for kind, change in named_changes(inputs.get(name, default), thorough):
            yield name, kind, lambda given, n=name, c=change, d=default: given | {n: c(given.get(n, d))}
    for name in (*op.contract.mutates, *(name for name in WRITTEN if name in inputs)):
        for other, value in inputs.items():
            if other != name and isinstance(value, Tensor) and value.dtype == inputs[name].dtype:
                kind = f"sharing memory with {other}"
                yield name, kind, lambda given, n=name, o=other: given | _overlapping(given, n, o)


def _overlapping(given: Inputs, name: str, other: str) -> Inputs:
    """Both with the values that they have but for one element, which is the last of one and the first of the other."""
    first, second = given[name], given[other]
    memory = torch.cat([first.flatten(), second.flatten()[1:]])
    return {name: memory[: first.numel()].view(first.shape), other: memory[first.numel() - 1 :].view(second.shape)}


def _wrong(op: Op, call: Callable[..., Any], name: str, changed: Callable[[], Inputs]) -> str | None:
    given = changed()
    try:
        with poisoned_outputs():
            got = run(op, call, given)
    except ValueError as error:
        return None if re.search(rf"\b{name}\b", str(error)) else f"the refusal does not name it: {error}"
    except Exception as error:
        return f"{type(error).__name__} in place of ValueError: {str(error).strip()[:80]}"
    try:
        exact, bounds = run(op, op.reference, in_float64(changed())), op.bound(**changed())
    except Exception as error:
        return f"it is served, but the reference cannot compute it: {str(error).strip()[:80]}"
    for output, value, truth, bound in zip(op.outputs, got, exact, bounds, strict=False):
        if value.shape != truth.shape:
            return f"{output} has shape {list(value.shape)}, must have {list(truth.shape)}"
        if (worst := _largest_ratio(value, truth, bound)) > 1:
            return f"{output} is {worst:.3g} times its bound off"
    return None


def _largest_ratio(value: Tensor, truth: Tensor, bound: Tensor) -> float:
    """The largest error ratio; where the answer, or its bound, is not finite, the value must not be either."""
    if not value.numel():
        return 0.0
    if not value.is_floating_point():
        return float(error_ratios(value, truth, bound).max())
    ratios = error_ratios(value, truth, bound.expand(truth.shape))
    known = truth.isfinite() & bound.expand(truth.shape).isfinite()
    invented = ~truth.isfinite() & value.isfinite()
    return float(torch.where(known, ratios, torch.where(invented, torch.inf, 0.0)).max())
