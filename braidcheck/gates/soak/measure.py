"""Run an op's kernel, the PyTorch baseline and the equivalent implementations on the same fresh numbers: the worst
error ratio of each."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import error_ratios
from braidcheck.op import Case, Op

KERNEL, TORCH_BASELINE = "kernel", "PyTorch baseline"
LARGE_SEEDS = 2  # rounds in which large cases take part: one of them costs as much as a hundred others
Variants = Mapping[str, Callable[..., Any]]


def pairs(op: Op, count: int, large: bool) -> list[Case]:
    """``count`` pairs of a seed and a case of ``op``: its cases in turn with seed 1, then 2, and so on.

    Seed 0 is the gate's own. Cases without rows say nothing and are left out; ``large`` ones come in the first rounds
    only, and only if asked for. Raises ValueError where no case is left.
    """
    cases = [case for case in op.cases if 0 not in case.axes.values() and not case.large]
    rare = [case for case in op.cases if case.large and large]
    if not cases:
        raise ValueError(f"{op.name} has no case that a soak could repeat")
    rounds = (
        replace(case, seed=seed)
        for seed in itertools.count(1)
        for case in (cases + rare if seed <= LARGE_SEEDS else cases)
    )
    return list(itertools.islice(rounds, count))


def measure_soak(
    op: Op, cases: Iterable[Case], variants: Variants, device: str = "cpu",
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:  # fmt: skip
    """The worst error ratio of each function over ``cases``, as JSON-able data.

    Keys: op, pairs, ``elements`` evaluated a function, and ``functions``: per function its name, pairs, error ratio,
    and the case and output that gave it; ``raised`` says in one line why there was no result (then the error ratio is
    infinite). Inputs, exact answer and bound are computed once a pair. A variant is not run on a case whose arguments
    it lacks.
    """
    functions = {KERNEL: op.call, TORCH_BASELINE: op.reference, **variants}
    worst = {name: _worst(name) for name in functions}
    seen = {"op": op.name, "pairs": 0, "elements": 0, "functions": list(worst.values())}
    for case in cases:
        progress(case.id)
        inputs = op.inputs(case, device)
        exact = run(op, op.reference, in_float64(inputs))
        bounds = op.bound(**inputs)
        seen["pairs"] += 1
        seen["elements"] += sum(truth.numel() for truth in exact)
        for name, function in functions.items():
            if _takes(function, case):
                _keep_worst(worst[name], _measure(op, function, inputs, exact, bounds) | {"case": case.id, "pairs": 1})
    return seen


def merge(seen: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One measurement of several of the same op: counts added, the worst of each function kept."""
    first, *others = seen
    worst = {row["function"]: dict(row) for row in first["functions"]}
    for other in others:
        for row in other["functions"]:
            _keep_worst(worst[row["function"]], row)
    counts = {key: sum(other[key] for other in (first, *others)) for key in ("pairs", "elements")}
    return {"op": first["op"], **counts, "functions": list(worst.values())}


def _worst(name: str) -> dict[str, Any]:
    return {"function": name, "pairs": 0, "error_ratio": 0.0, "case": "", "output": "", "raised": None}


def _keep_worst(worst: dict[str, Any], new: Mapping[str, Any]) -> None:
    worst["pairs"] += new["pairs"]
    if new["pairs"] and (not worst["case"] or new["error_ratio"] > worst["error_ratio"]):
        worst.update({key: new[key] for key in ("error_ratio", "case", "output", "raised")})


def _takes(function: Callable[..., Any], case: Case) -> bool:
    return set(case.needs) <= set(inspect.signature(function).parameters)


def _measure(op: Op, function: Callable[..., Any], inputs: dict, exact: tuple, bounds: tuple) -> dict[str, Any]:
    """The largest error ratio over all outputs of one call."""
    try:
        with poisoned_outputs(), warnings.catch_warnings():
            # Poisoning switches on torch's deterministic mode, which then warns of every cuBLAS call of a variant.
            warnings.filterwarnings("ignore", message="(?i).*deterministic")
            got = run(op, function, copies(inputs))
        error_ratio, output = max(
            (_error_ratio(op, name, inputs, value, truth, tolerance), name)
            for name, value, truth, tolerance in zip(op.outputs, got, exact, bounds, strict=False)
        )
    except Exception as error:  # whatever it raises is a finding, and hours of other pairs must not be lost with it
        message = (str(error).strip().splitlines() or [""])[0]
        return {"error_ratio": math.inf, "output": "", "raised": f"{type(error).__name__}: {message}"}
    return {"error_ratio": error_ratio, "output": output, "raised": None}


def _error_ratio(op: Op, output: str, inputs: dict, value: Tensor, truth: Tensor, tolerance: Tensor) -> float:
    wanted = op.contract.output_dtype(output, inputs)
    dtype = getattr(torch, wanted) if isinstance(wanted, str) else wanted
    if (value.dtype, value.shape) != (dtype, truth.shape):
        raise TypeError(f"{output} is {value.dtype} {list(value.shape)}, must be {dtype} {list(truth.shape)}")
    error_ratio = float(error_ratios(value, truth, tolerance).max()) if value.numel() else 0.0
    return math.inf if math.isnan(error_ratio) else error_ratio
