"""Run an op's kernel, stock PyTorch and the honest variants on the same fresh numbers: the worst share of each."""

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
from braidcheck.numerics.error import shares
from braidcheck.op import Case, Op

KERNEL, STOCK = "kernel", "stock PyTorch"
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


def observe_soak(
    op: Op, cases: Iterable[Case], variants: Variants, device: str = "cpu",
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:  # fmt: skip
    """The worst share of the bound of each function over ``cases``, as JSON-able data.

    Keys: op, pairs, ``elements`` judged a function, and ``functions``: per function its name, pairs, share, and the
    case and output that gave it; ``raised`` says in one line why there was no result (then the share is infinite).
    Inputs, exact answer and bound are computed once a pair. A variant is not run on a case whose arguments it lacks.
    """
    functions = {KERNEL: op.call, STOCK: op.reference, **variants}
    worst = {name: _worst(name) for name in functions}
    seen = {"op": op.name, "pairs": 0, "elements": 0, "functions": list(worst.values())}
    for case in cases:
        progress(case.id)
        given = op.inputs(case, device)
        exact = run(op, op.reference, in_float64(given))
        bounds = op.bound(**given)
        seen["pairs"] += 1
        seen["elements"] += sum(truth.numel() for truth in exact)
        for name, function in functions.items():
            if _takes(function, case):
                _keep_worst(worst[name], _observe(op, function, given, exact, bounds) | {"case": case.id, "pairs": 1})
    return seen


def merge(seen: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One observation of several of the same op: counts added, the worst of each function kept."""
    first, *rest = seen
    worst = {row["function"]: dict(row) for row in first["functions"]}
    for other in rest:
        for row in other["functions"]:
            _keep_worst(worst[row["function"]], row)
    counts = {key: sum(other[key] for other in (first, *rest)) for key in ("pairs", "elements")}
    return {"op": first["op"], **counts, "functions": list(worst.values())}


def _worst(name: str) -> dict[str, Any]:
    return {"function": name, "pairs": 0, "share": 0.0, "case": "", "output": "", "raised": None}


def _keep_worst(worst: dict[str, Any], new: Mapping[str, Any]) -> None:
    worst["pairs"] += new["pairs"]
    if new["pairs"] and (not worst["case"] or new["share"] > worst["share"]):
        worst.update({key: new[key] for key in ("share", "case", "output", "raised")})


def _takes(function: Callable[..., Any], case: Case) -> bool:
    return set(case.needs) <= set(inspect.signature(function).parameters)


def _observe(op: Op, function: Callable[..., Any], given: dict, exact: tuple, bounds: tuple) -> dict[str, Any]:
    """The largest share over all outputs of one call."""
    try:
        with poisoned_outputs(), warnings.catch_warnings():
            # Poisoning switches on torch's deterministic mode, which then warns of every cuBLAS call of a variant.
            warnings.filterwarnings("ignore", message="(?i).*deterministic")
            got = run(op, function, copies(given))
        share, output = max(
            (_share(op, name, given, value, truth, rest), name)
            for name, value, truth, rest in zip(op.outputs, got, exact, bounds, strict=False)
        )
    except Exception as error:  # whatever it raises is a finding, and hours of other pairs must not be lost with it
        said = (str(error).strip().splitlines() or [""])[0]
        return {"share": math.inf, "output": "", "raised": f"{type(error).__name__}: {said}"}
    return {"share": share, "output": output, "raised": None}


def _share(op: Op, output: str, given: dict, value: Tensor, truth: Tensor, rest: Tensor) -> float:
    wanted = op.contract.output_dtype(output, given)
    dtype = getattr(torch, wanted) if isinstance(wanted, str) else wanted
    if (value.dtype, value.shape) != (dtype, truth.shape):
        raise TypeError(f"{output} is {value.dtype} {list(value.shape)}, must be {dtype} {list(truth.shape)}")
    share = float(shares(value, truth, rest).max()) if value.numel() else 0.0
    return math.inf if math.isnan(share) else share
