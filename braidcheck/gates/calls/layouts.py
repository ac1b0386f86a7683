"""The same numbers in other memory layouts: right within the bound, or refused by a ValueError that names the
argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.calls.chosen import (
    MANY_ROWS,
    SMALL_ROWS,
    cases_by_argument,
    resized,
    rows_axis,
    smallest_case,
)
from braidcheck.gates.calls.memory import finite
from braidcheck.gates.calls.observe import Outputs, ViolationError, observed, require_right
from braidcheck.numerics.calls import copies
from braidcheck.op import Case, Inputs, Op

OFFSETS = {"cpu": (2, 8), "cuda": (2, 4, 8)}  # bytes past a 16-byte boundary; the interpreter ignores alignment
OVERLAPS = "a written tensor that overlaps is refused"
PADDING = 16  # elements past the end

Call = Callable[..., Any]
Layout = Callable[[Tensor], Tensor]
NumberedLayout = Callable[[Tensor, int], Tensor]  # of an argument by its number among the call's tensors


def layout_checks(op: Op, call: Call, device: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and checks; a check raises ViolationError."""
    for case in _layout_cases(op):
        for offset in OFFSETS[device]:
            move = partial(_moved, offset=offset)
            yield _name(f"bases off by {offset} bytes", case), partial(check_all, op, call, case, device, move)
        yield _name("rows some elements apart", case), partial(check_all, op, call, case, device, _with_gaps)
        for kind, layout in {"every other element": _stepped, "column-major": _swapped, "heads first": _outer}.items():
            yield _name(kind, case), partial(check_each, op, call, case, device, layout)
        yield _name("expanded", case), partial(check_expanded, op, call, case, device)
        yield _name("the other index type", case), partial(check_index_types, op, call, case, device)
        yield _name("parts of one tensor", case), partial(check_parts, op, call, case, device)
        yield _name("one tensor given twice", case), partial(check_twice, op, call, case, device)
    if op.contract.mutates:
        yield OVERLAPS, partial(check_overlaps, op, call, smallest_case(op, 3), device)


def _name(kind: str, case: Case) -> str:
    return f"{kind}: {case.id}"


def _layout_cases(op: Op) -> list[Case]:
    """Cheap cases that together pass every argument, each with several rows, since one row has no stride; the same for
    one row and for many if there are kernels for that.
    """
    cases = [resized(case, max(case[rows_axis(case)], SMALL_ROWS), case.get("S")) for case in cases_by_argument(op)]
    if "H" in cases[0].axes and "S" not in cases[0].axes:
        cases += [smallest_case(op, 1), smallest_case(op, MANY_ROWS)]
    return cases


def check_all(op: Op, call: Call, case: Case, device: str, layout: NumberedLayout) -> None:
    """Every tensor in another layout at once; if that is refused, each of them by itself."""
    inputs = op.inputs(case, device)
    laid = {name: layout(value, number) for number, (name, value) in enumerate(_tensors(inputs))}
    if not _accepted(op, call, inputs, inputs | laid, laid):
        check_each(op, call, case, device, lambda tensor: layout(tensor, 0))


def check_each(op: Op, call: Call, case: Case, device: str, layout: Layout) -> None:
    """One tensor after another in another layout."""
    inputs = op.inputs(case, device)
    for name, value in _tensors(inputs):
        laid = layout(value)
        if laid.stride() != value.stride() or laid.storage_offset() != value.storage_offset():
            _accepted(op, call, inputs, copies(inputs) | {name: laid}, [name])


def check_expanded(op: Op, call: Call, case: Case, device: str) -> None:
    """All rows the same memory, by a stride of 0."""
    inputs = op.inputs(case, device)
    rows = case[rows_axis(case)]
    for name, value in _tensors(inputs):
        slots = value.dim() == 1 and (op.contract.mutates or len(value) != rows)
        pages = value.dim() > 1 and not value.is_floating_point()  # a row may be longer than that whose pages it gets
        if len(value) > 1 and name not in op.contract.written and not (slots or pages):
            laid = value[:1].clone().expand_as(value)
            _accepted(op, call, inputs | {name: laid.contiguous()}, copies(inputs) | {name: laid}, [name])


def check_index_types(op: Op, call: Call, case: Case, device: str) -> None:
    """int32 where int64 was given, and the reverse."""
    inputs = op.inputs(case, device)
    for name, value in _tensors(inputs):
        if not value.is_floating_point():
            other = value.to(torch.int32 if value.dtype == torch.int64 else torch.int64)
            _accepted(op, call, inputs | {name: other.to(value.dtype)}, copies(inputs) | {name: other}, [name])


def check_parts(op: Op, call: Call, case: Case, device: str) -> None:
    """Arguments side by side in one tensor: q, k and v of one projection, K and V of one cache."""
    inputs = op.inputs(case, device)
    for names in _groups(op, inputs):
        tensors = [inputs[name] for name in names]
        if names[0] in op.contract.mutates:
            parts: Iterable[Tensor] = torch.stack(tensors, 1).unbind(1)
        else:
            parts = torch.cat(tensors, 1).split([len(tensor[0]) for tensor in tensors], 1)
        _accepted(op, call, inputs, copies(inputs) | dict(zip(names, parts, strict=True)), names)


def check_twice(op: Op, call: Call, case: Case, device: str) -> None:
    """One tensor as two arguments that are only read."""
    inputs = op.inputs(case, device)
    for (one, value), (other, second) in combinations(_tensors(inputs), 2):
        slots = not value.is_floating_point() and op.contract.mutates  # equal tensors have no meaning for these
        alike = (value.shape, value.dtype) == (second.shape, second.dtype)
        if alike and not slots and not {one, other} & set(op.contract.written):
            arguments = copies(inputs)
            _accepted(op, call, inputs | {other: value.clone()}, arguments | {other: arguments[one]}, [one, other])


def check_overlaps(op: Op, call: Call, case: Case, device: str) -> None:
    """A written tensor that shares memory with another, or with itself, must be refused: there is no right answer."""
    inputs = op.inputs(case, device)
    for name in op.contract.mutates:
        cache = inputs[name]
        overlapping = [{name: cache[:1].expand_as(cache)}] if len(cache) > 1 else []
        overlapping += [{other: cache} for other in op.contract.mutates if other != name]
        for other, value in _tensors(inputs):
            inside = cache[0, : len(value)]
            if (value.shape, value.dtype) == (inside.shape, inside.dtype):
                overlapping.append({other: inside})
        for arguments in overlapping:
            names = list(dict.fromkeys((name, *arguments)))
            if _outputs(op, call, inputs | arguments, names) is not None:
                raise ViolationError(f"{' and '.join(names)} overlap and the call accepts them")


def _tensors(inputs: Inputs) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in inputs.items() if isinstance(value, Tensor) and value.numel()]


def _groups(op: Op, inputs: Inputs) -> Iterator[list[str]]:
    """The names of arguments that can be parts of one tensor: with the same rows, dtype and last dimension."""
    groups: dict[object, list[str]] = {}
    for name, value in _tensors(inputs):
        if value.dim() > 1:
            last = value.shape[2:] if value.dim() > 2 else ()
            mutated = name in op.contract.mutates
            groups.setdefault((mutated, len(value), value.dim(), last, value.dtype), []).append(name)
    yield from (names for names in groups.values() if len(names) > 1)


def _accepted(op: Op, call: Call, plain: Inputs, laid: Inputs, names: Iterable[str]) -> bool:
    """Whether the call accepts ``laid``, which has the numbers of ``plain`` with ``names`` in another layout. Raises
    ViolationError if the answer is wrong, or if the refusal names none of them.
    """
    names = list(names)
    outputs = _outputs(op, call, laid, names)
    if outputs is None:
        return False
    where = f"{names[0]} of strides {list(laid[names[0]].stride())}" if len(names) == 1 else " and ".join(names)
    require_right(op, plain, outputs, f"with another layout of {where}")
    return True


def _outputs(op: Op, call: Call, laid: Inputs, names: list[str]) -> Outputs | None:
    """The outputs; None if the call refuses ``laid`` by a ValueError that names one of ``names``."""
    try:
        return observed(op, call, laid)
    except ValueError as error:
        if not any(re.search(rf"\b{name}\b", str(error)) for name in names):
            raise ViolationError(f"refused by a message that does not name {' or '.join(names)}: {error}") from error
        return None


def _placed(tensor: Tensor, offset: int = 0, gap: int = 0, step: int = 1) -> Tensor:
    """The same numbers ``offset`` bytes past a boundary, with ``gap`` elements between rows, in every ``step``-th
    element. Large finite numbers, or far indices, fill the memory around and between them.
    """
    strides = [stride * step for stride in tensor.contiguous().stride()]
    if tensor.dim() > 1:
        strides[0] += gap
    start = offset // tensor.element_size()
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
    whole = torch.full((start + span + PADDING,), finite(tensor), dtype=tensor.dtype, device=tensor.device)
    return whole.as_strided(tensor.shape, strides, start).copy_(tensor)


def _moved(tensor: Tensor, number: int, offset: int) -> Tensor:
    return _placed(tensor, offset=offset)


def _with_gaps(tensor: Tensor, number: int) -> Tensor:
    # Tensors of one width would have one stride, and a kernel could take each for the other's.
    return _placed(tensor, gap=1 + number)


def _stepped(tensor: Tensor) -> Tensor:
    return _placed(tensor, step=2)


def _swapped(tensor: Tensor) -> Tensor:
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2) if tensor.dim() > 1 else tensor


def _outer(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1).contiguous().transpose(0, 1) if tensor.dim() > 2 else tensor
