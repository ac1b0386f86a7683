"""Run an op, or a candidate for it, on a case and return what was seen, as plain data."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from braidcheck.gpu_memory import is_out_of_memory
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import distance
from braidcheck.op import Case, Op


def observe_op(op: Op, case: Case, device: str = "cpu", function: Callable[..., Any] | None = None) -> dict[str, Any]:
    """What ``function`` (the op's own wrapper by default) does on ``case``, as JSON-able data.

    Keys: op, case, profile, dtype, device, seconds; ``missing``: optional arguments of the case that the function
    does not take; ``raised``: its exception in one line; ``problems``: outputs of wrong number, shape or dtype;
    ``outputs``: per output its name, the Errors, and stock PyTorch's own share and relative error on the case.
    """
    function = function or op.call
    seen = {"op": op.name, "case": case.id, "profile": case.profile, "dtype": case.dtype, "device": device}
    seen |= {"missing": _missing(function, case), "raised": None, "problems": [], "outputs": [], "seconds": 0.0}
    if seen["missing"]:
        return seen
    given = op.inputs(case, device)
    exact = run(op, op.reference, in_float64(given))
    bounds = op.bound(**given)
    started = time.perf_counter()
    try:
        with poisoned_outputs():
            got = run(op, function, copies(given))
            if device != "cpu":
                torch.cuda.synchronize()
    except Exception as error:  # whatever a kernel raises is evidence against it, not an error of ours
        if is_out_of_memory(error):  # which says nothing about it
            raise
        seen["raised"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        return seen
    seen["seconds"] = time.perf_counter() - started
    seen["problems"] = _problems(op, given, got, exact)
    if not seen["problems"]:
        stock = run(op, op.reference, copies(given))
        seen["outputs"] = [
            {"name": name, **asdict(distance(value, truth, rest)), **_stock(other.to(value.dtype), truth, rest)}
            for name, value, truth, rest, other in zip(op.outputs, got, exact, bounds, stock, strict=False)
        ]
    return seen


def _stock(got: Tensor, exact: Tensor, rest: Tensor) -> dict[str, float]:
    errors = distance(got, exact, rest)
    return {"stock_share": errors.share, "stock_relative": errors.relative}


def _missing(function: Callable[..., Any], case: Case) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [name for name in case.needs if name not in {p.name for p in parameters}]


def _problems(op: Op, given: Mapping[str, Any], got: tuple[Any, ...], exact: tuple[Any, ...]) -> list[str]:
    if len(got) != len(exact):
        return [f"returned {len(got)} outputs, {len(exact)} belong to this call"]
    found = []
    for name, value, truth in zip(op.outputs, got, exact, strict=False):
        if not isinstance(value, Tensor):
            found.append(f"{name} is {type(value).__name__}, not a tensor")
            continue
        dtype = str(op.contract.output_dtype(name, given)).removeprefix("torch.")
        if value.shape != truth.shape:
            found.append(f"{name} has shape {list(value.shape)}, must have {list(truth.shape)}")
        if str(value.dtype) != f"torch.{dtype}":
            found.append(f"{name} is {str(value.dtype).removeprefix('torch.')}, must be {dtype}")
    return found
