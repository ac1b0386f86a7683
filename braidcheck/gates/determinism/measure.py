"""Runs an op repeatedly on the same inputs: the bits must stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.determinism import REPEATS, Evidence, evaluate
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import wrapper
from braidcheck.numerics.calls import copies, poisoned_outputs, run
from braidcheck.op import Case, Op
from braidcheck.result import Status

CASES = 3  # cases of each op, spread over its list


def measure_determinism(op: Op, device: str = "cpu", repeats: int = 20) -> list[Evidence]:
    """The evidence on a few cases of ``op``, each run ``repeats`` times."""
    return [_measure(op, case, device, repeats) for case in _spread(op, device)]


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The check of each case, the quickest first."""
    repeats = REPEATS["interpret" if trial.device == "cpu" else "gpu"]
    cases = [(op, case) for op in trial.ops.values() for case in _spread(op, trial.device)]
    for op, case in sorted(cases, key=lambda pair: trial.case_seconds.get(pair[1].id, 0.0)):
        yield case.id, partial(_violation, op, case, trial.device, repeats)


def _violation(op: Op, case: Case, device: str, repeats: int) -> str | None:
    verdict = evaluate([_measure(replace(op, call=wrapper(op.name)), case, device, repeats)], op.name)
    return verdict.message if verdict.status == Status.FAIL else None


def _spread(op: Op, device: str) -> list[Case]:
    cases = [case for case in op.cases if 0 not in case.axes.values() and not (case.large and device == "cpu")]
    return cases[len(cases) // (2 * CASES) :: max(1, len(cases) // CASES)][:CASES]


def _measure(op: Op, case: Case, device: str, repeats: int) -> Evidence:
    inputs = op.inputs(case, device)
    first = _call(op, inputs)
    differing = sum(not all(map(_same, first, _call(op, inputs))) for _ in range(repeats - 1))
    return {"op": op.name, "case": case.id, "repeats": repeats, "differing": differing}


def _call(op: Op, inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    with poisoned_outputs():
        return run(op, op.call, copies(inputs))


def _equal_bits(one: Tensor, other: Tensor) -> Tensor:
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return one.contiguous().view(bits) == other.contiguous().view(bits)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(_equal_bits(one, other).all())
