"""The bfloat16 shapes on which the timing gate and the paired gate time ops."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from braidcheck import kernels
from braidcheck.op import Case, Op

if TYPE_CHECKING:  # the base commit, into which this file is copied, may be older
    from braidcheck.op import Inputs


@dataclass(frozen=True)
class Series:
    """One tracked timing: an op on a case; ``name`` is ``op[shape]``."""

    name: str
    op: str
    case: Case


def series(ops: Mapping[str, Op]) -> list[Series]:
    """All series of these ops; an op without benchmark shapes is timed on its own large bfloat16 cases."""
    rows = []
    for name, op in ops.items():
        shapes = op.benchmark_shapes.items()
        large = [case for case in op.cases if case.large and case.dtype == "bfloat16"]
        rows += [Series(f"{name}[{shape}]", name, Case(name, axes)) for shape, axes in shapes]
        rows += [Series(case.id, name, case) for case in large if not shapes]
    return rows


def benchmark_case(op: str, shape: str, **axes: int) -> Case:
    """The case of one of an op's benchmark shapes, with these ``axes`` otherwise. Raises KeyError for another name."""
    return Case(op, {**kernels.find()[op].benchmark_shapes[shape], **axes})


def arguments(op: Op, case: Case) -> Inputs:
    """The op's inputs on the CPU, with every row of a batch as long as the op's cost assumes."""
    inputs = op.inputs(case, "cpu")
    batch, capacity = case.get("B"), case.get("S")
    if "split_counter" in inspect.signature(op.call).parameters:  # a decoder has them ready
        inputs["split_counter"] = torch.zeros(batch, case["Hkv"], dtype=torch.int32)
    if batch < 2 or not inputs.keys() & {"lengths", "split_counter"}:
        return inputs
    # Cases draw lengths at random; here a call must move exactly the bytes of its cost.
    lengths = torch.arange(1, batch + 1) * capacity // batch
    if "lengths" not in inputs:
        inputs["positions"] = lengths - 1
    elif "positions" in inputs:
        inputs["lengths"] = torch.full((batch,), capacity)
        inputs["positions"] = inputs["lengths"] - 1
    else:
        inputs["lengths"] = lengths
    return inputs | {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
