"""What the evidence says of each output: its errors as plain data, and what is wrong with its shape or dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.accuracy.evidence import Distance, Output
from braidcheck.numerics.error import Errors
from braidcheck.op import Op


def plain(errors: Errors) -> Distance:
    """Errors as plain data."""
    return {
        "error_ratio": errors.error_ratio,
        "relative": errors.relative,
        "largest": errors.largest,
        "nonfinite": errors.nonfinite,
        "bias": errors.bias,
        "narrow": errors.narrow,
        "index": errors.index,
        "got": errors.got,
        "exact": errors.exact,
        "allowed": errors.allowed,
    }


def output_evidence(name: str, errors: Errors, baseline_ratio: float, baseline_relative: float) -> Output:
    """The evidence on one output; the last two numbers are the baseline's."""
    return {
        "name": name,
        **plain(errors),
        "baseline_error_ratio": baseline_ratio,
        "baseline_relative": baseline_relative,
    }


def output_problems(op: Op, inputs: Mapping[str, Any], got: tuple[Any, ...], exact: tuple[Any, ...]) -> list[str]:
    """Problems of the outputs apart from their values: count, shapes and dtypes."""
    if len(got) != len(exact):
        return [f"returned {len(got)} outputs, must return {len(exact)}"]
    problems = []
    for name, value, truth in zip(op.outputs, got, exact, strict=False):
        if not isinstance(value, Tensor):
            problems.append(f"{name} is {type(value).__name__}, not a tensor")
            continue
        dtype = output_dtype(op, name, inputs)
        if value.shape != truth.shape:
            problems.append(f"{name} has shape {list(value.shape)}, must have {list(truth.shape)}")
        if value.dtype != dtype:
            actual, expected = (str(one).removeprefix("torch.") for one in (value.dtype, dtype))
            problems.append(f"{name} is {actual}, must be {expected}")
    return problems


def output_dtype(op: Op, name: str, inputs: Mapping[str, Any]) -> torch.dtype:
    """The dtype that the contract gives the output ``name`` for these inputs."""
    dtype: torch.dtype = getattr(torch, str(op.contract.output_dtype(name, inputs)).removeprefix("torch."))
    return dtype
