"""Runs an op's kernel, PyTorch baseline and equivalent implementations on the same fresh numbers: the worst error ratio
of each."""

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

from braidcheck.gates.soak.evidence import Evidence, FunctionRow
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import error_ratios
from braidcheck.op import Case, Inputs, Op

KERNEL, TORCH_BASELINE = "kernel", "PyTorch baseline"
LARGE_SEEDS = 2  # rounds that include large cases, each of which costs as much as a hundred others
Variants = Mapping[str, Callable[..., Any]]
Outputs = tuple[Tensor, ...]


def pairs(op: Op, count: int, large: bool) -> list[Case]:
    """``count`` pairs of a seed and a case of ``op``: all its cases with seed 1, then 2, and so on. Seed 0 is the
    gate's. Cases without rows are omitted; ``large`` ones, if requested, come in the first rounds only. Raises
    ValueError if no case is left.
    """
    cases = [case for case in op.cases if 0 not in case.axes.values() and not case.large]
    rare = [case for case in op.cases if case.large and large]
    if not cases:
        raise ValueError(f"{op.name} has no case with rows, so a soak has nothing to run")
    rounds = (
        replace(case, seed=seed)
        for seed in itertools.count(1)
        for case in (cases + rare if seed <= LARGE_SEEDS else cases)
    )
    return list(itertools.islice(rounds, count))


def measure_soak(
    op: Op, cases: Iterable[Case], variants: Variants, device: str = "cpu",
    progress: Callable[[str], None] = lambda text: None,
) -> Evidence:  # fmt: skip
    """The worst error ratio of each function over ``cases``, as JSON data. Inputs, exact answer and bound are computed
    once per pair. A variant is not run on a case whose arguments it lacks.
    """
    functions = {KERNEL: op.call, TORCH_BASELINE: op.reference, **variants}
    worst = {name: _worst(name) for name in functions}
    evidence: Evidence = {"op": op.name, "pairs": 0, "elements": 0, "functions": list(worst.values())}
    for case in cases:
        progress(case.id)
        inputs = op.inputs(case, device)
        exact = run(op, op.reference, in_float64(inputs))
        bounds = op.bound(**inputs)
        evidence["pairs"] += 1
        evidence["elements"] += sum(truth.numel() for truth in exact)
        for name, function in functions.items():
            if _takes(function, case):
                _keep_worst(worst[name], _measure(op, name, function, case, inputs, exact, bounds))
    return evidence


def merge(seen: Iterable[Evidence]) -> Evidence:
    """Merge measurements of one op: add the counts, keep the worst of each function."""
    first, *others = seen
    worst = {row["function"]: row.copy() for row in first["functions"]}
    for other in others:
        for row in other["functions"]:
            _keep_worst(worst[row["function"]], row)
    return {
        "op": first["op"],
        "pairs": sum(other["pairs"] for other in (first, *others)),
        "elements": sum(other["elements"] for other in (first, *others)),
        "functions": list(worst.values()),
    }


def _worst(name: str) -> FunctionRow:
    return {"function": name, "pairs": 0, "error_ratio": 0.0, "case": "", "output": "", "raised": None}


def _keep_worst(worst: FunctionRow, new: FunctionRow) -> None:
    worst["pairs"] += new["pairs"]
    if new["pairs"] and (not worst["case"] or new["error_ratio"] > worst["error_ratio"]):
        worst.update({**new, "pairs": worst["pairs"]})


def _takes(function: Callable[..., Any], case: Case) -> bool:
    return set(case.needs) <= set(inspect.signature(function).parameters)


def _measure(
    op: Op, name: str, function: Callable[..., Any], case: Case, inputs: Inputs, exact: Outputs, bounds: Outputs
) -> FunctionRow:
    """The largest error ratio over all outputs of one call."""
    row: FunctionRow = {**_worst(name), "pairs": 1, "case": case.id}
    try:
        with poisoned_outputs(), warnings.catch_warnings():
            # Poisoning enables torch's deterministic mode, which warns at every cuBLAS call of a variant.
            warnings.filterwarnings("ignore", message="(?i).*deterministic")
            got = run(op, function, copies(inputs))
        error_ratio, output = max(
            (_error_ratio(op, output, inputs, value, truth, tolerance), output)
            for output, value, truth, tolerance in zip(op.outputs, got, exact, bounds, strict=False)
        )
    except Exception as error:  # any exception of a function is a finding, and must not end hours of other pairs
        message = (str(error).strip().splitlines() or [""])[0]
        return {**row, "error_ratio": math.inf, "raised": f"{type(error).__name__}: {message}"}
    return {**row, "error_ratio": error_ratio, "output": output}


def _error_ratio(op: Op, output: str, inputs: Inputs, value: Tensor, truth: Tensor, tolerance: Tensor) -> float:
    contract_dtype = op.contract.output_dtype(output, inputs)
    dtype = getattr(torch, contract_dtype) if isinstance(contract_dtype, str) else contract_dtype
    if (value.dtype, value.shape) != (dtype, truth.shape):
        raise TypeError(f"{output} is {value.dtype} {list(value.shape)}, must be {dtype} {list(truth.shape)}")
    error_ratio = float(error_ratios(value, truth, tolerance).max()) if value.numel() else 0.0
    return math.inf if math.isnan(error_ratio) else error_ratio
