"""Runs an op, or a candidate for it, on a case and returns the evidence as plain data."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.evidence import Distance, Evidence, Output
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import wrapper
from braidcheck.gpu_memory import is_out_of_memory
from braidcheck.numerics import bias
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run, with_finite_poison
from braidcheck.numerics.error import Errors, distance
from braidcheck.op import Case, Op

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]  # a wrapper to the same wrapper, watched


def measure_op(op: Op, case: Case, device: str = "cpu", function: Callable[..., Any] | None = None) -> Evidence:
    """The evidence on ``function`` (default: the op's own wrapper) on ``case``, as JSON data."""
    function = function or op.call
    seen: Evidence = {
        "op": op.name,
        "case": case.id,
        "profile": case.profile,
        "dtype": case.dtype,
        "device": device,
        "missing": _missing(function, case),
        "raised": None,
        "problems": [],
        "outputs": [],
        "seconds": 0.0,
    }
    if seen["missing"]:
        return seen
    inputs = op.inputs(case, device)
    seen["poisoned"] = [] if case.profile == "nan" else _with_nan(inputs)
    if finite := has_finite_poison(case):
        inputs = with_finite_poison(inputs)
    started = time.perf_counter()
    try:
        with poisoned_outputs(finite):
            got = run(op, function, copies(inputs))
            if device != "cpu":
                torch.cuda.synchronize()
    except Exception as error:  # any exception of a kernel counts against it; it is no error of the gate
        if is_out_of_memory(error):  # which says nothing about it
            raise
        seen["raised"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        return seen
    seen["seconds"] = time.perf_counter() - started
    # Only now: while the function ran, there was no answer to be found anywhere.
    exact = run(op, op.reference, in_float64(inputs))
    bounds = op.bound(**inputs)
    seen["problems"] = output_problems(op, inputs, got, exact)
    if not seen["problems"]:
        baseline = run(op, op.reference, copies(inputs))
        seen["outputs"] = [
            _output(name, distance(value, truth, tolerance, part), distance(other.to(value.dtype), truth, tolerance))
            for name, value, truth, tolerance, part, other in zip(
                op.outputs, got, exact, bounds, _systematic(op, inputs, bounds), baseline, strict=False
            )
        ]
    return seen


def _with_nan(inputs: Mapping[str, Any]) -> list[str]:
    floats = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.is_floating_point()}
    return [name for name, value in floats.items() if bool(value.isnan().any())]


def has_finite_poison(case: Case) -> bool:
    """Whether memory that ``case`` may not read is poisoned with a finite number: half of the cases, but none whose
    inputs hold NaN on purpose."""
    return case.profile != "nan" and case.entropy % 2 == 1


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


def _output(name: str, errors: Errors, baseline: Errors) -> Output:
    return {
        "name": name,
        **plain(errors),
        "baseline_error_ratio": baseline.error_ratio,
        "baseline_relative": baseline.relative,
    }


def _systematic(op: Op, inputs: Mapping[str, Any], bounds: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The part of each bound that may lie on one side: what is left of it where nothing is cast to 16 bits."""
    if all(len(tolerance) < bias.MIN_ROWS for tolerance in bounds):
        return bounds  # too few rows to need it
    wide = {
        name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
    }
    parts: tuple[Tensor, ...] = op.bound(**wide)
    return tuple(torch.minimum(part, tolerance) for part, tolerance in zip(parts, bounds, strict=True))


def _missing(function: Callable[..., Any], case: Case) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [name for name in case.needs if name not in {p.name for p in parameters}]


def output_problems(op: Op, inputs: Mapping[str, Any], got: tuple[Any, ...], exact: tuple[Any, ...]) -> list[str]:
    """Problems of the outputs apart from their values: count, shapes and dtypes."""
    if len(got) != len(exact):
        return [f"returned {len(got)} outputs, must return {len(exact)}"]
    found = []
    for name, value, truth in zip(op.outputs, got, exact, strict=False):
        if not isinstance(value, Tensor):
            found.append(f"{name} is {type(value).__name__}, not a tensor")
            continue
        dtype = str(op.contract.output_dtype(name, inputs)).removeprefix("torch.")
        if value.shape != truth.shape:
            found.append(f"{name} has shape {list(value.shape)}, must have {list(truth.shape)}")
        if str(value.dtype) != f"torch.{dtype}":
            found.append(f"{name} is {str(value.dtype).removeprefix('torch.')}, must be {dtype}")
    return found


def case_check(op: Op, case: Case, device: str, guard: Guard = lambda call: call) -> str | None:
    """The violation on one case by the wrapper under test, called through ``guard``."""
    return accuracy.violation(measure_op(op, case, device, guard(wrapper(op.name))))


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """One check per case, the large ones last."""
    cases = [(op, case) for op in trial.ops.values() for case in op.cases if trial.device != "cpu" or not case.large]
    for op, case in sorted(cases, key=lambda pair: (pair[1].large, trial.case_seconds.get(pair[1].id, 0.0))):
        check = partial(case_check, op, case, trial.device)
        # At the same time, the largest cases of several workers would not fit on one GPU.
        yield case.id, trial.one_by_one(check) if case.large else check
