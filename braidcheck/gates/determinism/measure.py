"""Run an op again on the same inputs, and on single rows of them: the bits must stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.determinism import Evidence
from braidcheck.numerics.calls import copies, poisoned_outputs, run
from braidcheck.op import Case, Op

CASES = 3  # of each op, spread over its list
ROWS = 6  # rows evaluated alone, spread over the case's


def measure_determinism(op: Op, device: str = "cpu", repeats: int = 20) -> list[Evidence]:
    """The evidence on a few cases of ``op``, each run ``repeats`` times."""
    return [_measure(op, case, device, repeats) for case in _spread(op, device)]


def _spread(op: Op, device: str) -> list[Case]:
    cases = [case for case in op.cases if 0 not in case.axes.values() and not (case.large and device == "cpu")]
    return cases[len(cases) // (2 * CASES) :: max(1, len(cases) // CASES)][:CASES]


def _measure(op: Op, case: Case, device: str, repeats: int) -> Evidence:
    inputs = op.inputs(case, device)
    first = _call(op, inputs)
    differing = sum(not all(map(_same, first, _call(op, inputs))) for _ in range(repeats - 1))
    rows = _some_rows(inputs) if op.contract.batch_invariant else []
    return {
        "op": op.name,
        "case": case.id,
        "repeats": repeats,
        "differing": differing,
        "alone": len(rows),
        "alone_differing": sum(not _same_alone(op, inputs, first, row) for row in rows),
    }


def _call(op: Op, inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    with poisoned_outputs():
        return run(op, op.call, copies(inputs))


def _rows(inputs: Mapping[str, Any]) -> int:
    """The number of rows: of an op's first tensor, as all signatures have it."""
    return len(next(value for value in inputs.values() if isinstance(value, Tensor)))


def _some_rows(inputs: Mapping[str, Any]) -> list[int]:
    count = _rows(inputs)
    return sorted({index * (count - 1) // max(1, ROWS - 1) for index in range(ROWS)})


def _same_alone(op: Op, inputs: Mapping[str, Any], together: tuple[Tensor, ...], row: int) -> bool:
    """Whether ``row`` without its neighbours gets the bits that it got ``together`` with them.

    Every input as long as there are rows is cut to this one, except those written in place: of them only what this
    row writes is compared.
    """
    count = _rows(inputs)
    cut = {
        name: value[row : row + 1]
        if isinstance(value, Tensor) and len(value) == count and name not in op.contract.mutates
        else value
        for name, value in inputs.items()
    }
    alone = _call(op, cut)
    if not op.contract.mutates:
        return all(_same(one[0], all_rows[row]) for one, all_rows in zip(alone, together, strict=True))
    written = [~_equal_bits(one, inputs[name]) for one, name in zip(alone, op.contract.mutates, strict=True)]
    parts = zip(alone, together, written, strict=True)
    return all(bool(at.any()) and _same(one[at], all_rows[at]) for one, all_rows, at in parts)


def _equal_bits(one: Tensor, other: Tensor) -> Tensor:
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return one.contiguous().view(bits) == other.contiguous().view(bits)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(_equal_bits(one, other).all())
