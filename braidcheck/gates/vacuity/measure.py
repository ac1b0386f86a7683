"""Tests whether an op's cases detect zeros, a copy of the input, or an answer with a missing term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.vacuity import Evidence
from braidcheck.numerics.calls import copies, in_float64, run
from braidcheck.numerics.error import error_ratios
from braidcheck.op import Inputs, Op

Outputs = tuple[Tensor, ...]


def measure_vacuity(op: Op, device: str = "cpu") -> list[Evidence]:
    """The evidence on each wrong answer to ``op``, from cases that run everywhere. No kernel runs: the reference
    computes the wrong answers.
    """
    caught: dict[str, list[str]] = {name: [] for name in ("zeros", "the input", *op.negative_controls)}
    for case in op.cases:
        if case.large:
            continue
        inputs = op.inputs(case, device)
        exact = run(op, op.reference, in_float64(inputs))
        bounds = op.bound(**inputs)
        dtypes = [_dtype(op, name, inputs) for name in op.outputs]
        for name, answer in _wrong_answers(op, inputs, exact).items():
            outputs = answer()
            if outputs and any(
                _is_detected(value.to(dtype), truth, tolerance)
                for value, truth, tolerance, dtype in zip(outputs, exact, bounds, dtypes, strict=False)
            ):
                caught[name].append(case.id)
    return [{"op": op.name, "answer": name, "caught_by": cases} for name, cases in caught.items()]


def _wrong_answers(op: Op, inputs: Mapping[str, Any], exact: Outputs) -> dict[str, Callable[[], Outputs]]:
    def zeros() -> Outputs:
        return tuple(torch.zeros_like(truth) for truth in exact)

    def the_input() -> Outputs:
        # The first input with the shape of each output; an output without such an input stays zero.
        tensors = [value for value in in_float64(inputs).values() if isinstance(value, Tensor)]
        return tuple(next((t for t in tensors if t.shape == truth.shape), torch.zeros_like(truth)) for truth in exact)

    def controlled(change: Callable[[Inputs], Inputs]) -> Callable[[], Outputs]:
        changed = change(copies(inputs))
        same = changed.keys() == inputs.keys() and all(_equal(changed[name], inputs[name]) for name in inputs)
        return lambda: () if same else run(op, op.reference, in_float64(changed))

    controls = {name: controlled(change) for name, change in op.negative_controls.items()}
    return {"zeros": zeros, "the input": the_input} | controls


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bool(((one == other) | (one.isnan() & other.isnan())).all())
    return type(one) is type(other) and not isinstance(one, Tensor) and one == other


def _is_detected(value: Tensor, exact: Tensor, tolerance: Tensor) -> bool:
    return bool(value.numel()) and bool(error_ratios(value, exact, tolerance).max() > 1)


def _dtype(op: Op, output: str, inputs: Mapping[str, Any]) -> torch.dtype:
    dtype = op.contract.output_dtype(output, inputs)
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype
