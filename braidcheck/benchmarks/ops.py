"""Every op on its production shapes against its baselines: one process, interleaved rounds, each answer checked
first."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from braidcheck.benchmarks import BRAIDCHECK
from braidcheck.benchmarks.attempt import first_line, within
from braidcheck.benchmarks.clocks import Monitor, NoClocks
from braidcheck.benchmarks.fusions import Comparison
from braidcheck.benchmarks.fusions import run as comparison
from braidcheck.benchmarks.roofline import Limits, measure_limits
from braidcheck.benchmarks.shapes import Series, arguments, series
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Inputs, Op

FAR = 0.02  # of an output's 2-norm: five roundings to bfloat16 in a row, each at its worst
CUBLAS = "cuBLAS alone"  # the op's matrix product without its fused parts
MAX_BASELINE_SECONDS = 60  # time limit for compiling and checking a baseline


class Subject(TypedDict, total=False):
    """Median, minimum and maximum seconds of the rounds; or why it was not timed: wrong answer, or failure."""

    seconds: float
    low: float
    high: float
    kept: int
    refused: str
    skipped: str


class SeriesRow(TypedDict):
    """One op on one shape."""

    bytes: int
    flops: int
    subjects: dict[str, Subject]


class Evidence(TypedDict, total=False):
    """All series by name and the machine's limits; or the ``reason`` why nothing was timed."""

    reason: str
    device: str
    limits: Limits
    series: dict[str, SeriesRow]


def measure_ops(
    ops: Mapping[str, Op],
    with_baselines: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    device: str = "cuda",
    seed: int = 0,
) -> Evidence:
    """The machine's ``limits`` and, for each series, its bytes, flops and ``subjects``; or the ``reason`` why nothing
    was timed. A subject has the median, minimum and maximum ``seconds`` of its rounds, or ``refused`` (wrong answer),
    or ``skipped`` (it failed or took too long).
    """
    try:
        Monitor(str(torch.cuda.get_device_properties(0).uuid))
    except NoClocks as why:
        return {"reason": str(why)}
    progress("measuring the machine's own bandwidth and GEMM peak")
    limits, rows = measure_limits(device), dict[str, SeriesRow]()
    order, op_series = random.Random(seed), series(ops)
    for number, one in enumerate(op_series):
        torch.cuda.empty_cache()
        torch._dynamo.reset()
        progress(f"timing {one.name}, {number} of {len(op_series)} done")
        rows[one.name] = _time(one, ops[one.op], with_baselines, device, order)
    return {"device": torch.cuda.get_device_name(), "limits": limits, "series": rows}


def _time(one: Series, op: Op, with_baselines: bool, device: str, order: random.Random) -> SeriesRow:
    cost = op.cost(one.case)
    inputs = _filled(arguments(op, one.case), device)
    calls: dict[str, Callable[..., Any]] = {}
    if with_baselines:
        calls, inputs = baselines_for(op, inputs)
    calls = {BRAIDCHECK: op.call} | calls
    calls = {name: call if name == CUBLAS else without_operand(call) for name, call in calls.items()}
    subjects = {name: checked(op, name, call, inputs) for name, call in calls.items()}
    if with_baselines and op.eager_baseline is None:
        subjects["eager"] = {"skipped": f"it has no eager baseline: add one to kernels/{op.name}/op.py"}
    timed = comparison(
        Comparison(inputs, cost.bytes, {name: calls[name] for name in calls if not subjects[name]}), order
    )
    subjects |= {name: {"skipped": why} for name, why in timed["errors"].items()}
    for name, seconds in timed["seconds"].items():
        middle = statistics.median(seconds)
        subjects[name] = {"seconds": middle, "low": min(seconds), "high": max(seconds), "kept": len(seconds)}
    return {"bytes": cost.bytes, "flops": cost.flops, "subjects": subjects}


def baselines_for(op: Op, inputs: Mapping[str, Any]) -> tuple[dict[str, Callable[..., Any]], Inputs]:
    """The op's call and its baselines' by name, and the arguments that all of them take. cuBLAS gets its operand
    already in the weight's dtype; the others ignore that argument (``without_operand``).
    """
    made: dict[str, Callable[..., Any]] = {}
    if op.eager_baseline is not None:
        made["eager"] = op.eager_baseline
        made["torch.compile"] = torch.compile(op.eager_baseline, dynamic=False)
    if op.gemm_weight:
        made[CUBLAS] = lambda *, operand, **rest: F.linear(operand, rest[op.gemm_weight])
        inputs = {**inputs, "operand": inputs["x"].to(inputs[op.gemm_weight].dtype)}
    return {**made, **op.library_baselines(inputs)}, dict(inputs)


def without_operand(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call without cuBLAS's operand."""
    return lambda *, operand=None, **rest: call(**rest)


def _filled(inputs: Mapping[str, Any], device: str) -> Inputs:
    """The arguments on the device, with NaN cache slots replaced by numbers: some baselines read all slots and mask."""
    placed = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
    return placed | {name: placed[name].nan_to_num(0.5) for name in ("k_cache", "v_cache") if name in placed}


def checked(op: Op, name: str, call: Callable[..., Any], inputs: Mapping[str, Any]) -> Subject:
    """Why a call is not timed; empty if its outputs are the op's. cuBLAS has other outputs and is only run."""
    own = {key: value for key, value in inputs.items() if key != "operand"}
    try:
        with within(MAX_BASELINE_SECONDS):
            if name == CUBLAS:
                call(**inputs)
                return {}
            far = _distance(op, own, run(op, call, copies(own)), run(op, op.reference, copies(own)))
    except Exception as error:  # whatever a baseline's libraries raise says that it did not run here
        return {"skipped": first_line(error)}
    return {} if far <= FAR else {"refused": f"its answer differs by {far:.2g} of the norm from the reference's"}


def _distance(op: Op, inputs: Mapping[str, Any], got: tuple[Any, ...], truth: tuple[Any, ...]) -> float:
    """The largest relative 2-norm of the difference over all outputs; infinite if shapes differ. Tokens are compared by
    their reference logits: the best two may differ by a rounding.
    """
    if [value.shape for value in got] != [exact.shape for exact in truth]:
        return float("inf")
    if inputs.get("argmax"):
        logits = op.reference(**copies(inputs) | {"argmax": False})
        got, truth = ((logits.gather(-1, tokens[:, None]),) for (tokens,) in (got, truth))
    pairs = [(value.float(), exact.float()) for value, exact in zip(got, truth, strict=True)]
    errors = [(value - exact).norm() / exact.norm().clamp_min(1e-30) for value, exact in pairs]
    return max(float(error.nan_to_num(float("inf"))) for error in errors)
