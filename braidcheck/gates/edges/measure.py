"""What ops promise at their edges, where the cases of the accuracy gate do not go: a violation each, or nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from braidcheck.gates.edges import arguments
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import wrapper
from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.numerics.calls import run
from braidcheck.op import Inputs, Op

MANY = 65  # rows from which kernels for many tokens are taken
CROWD = 160  # rows: more than any block of tokens that the kernels choose by their number


def edge_checks(op: Op, call: Callable[..., Any], device: str) -> Iterator[tuple[str, Check]]:
    """Name and check of what is asked of ``call``, a candidate for ``op``: by its contract, then its own."""
    if op.contract.batch_invariant and not op.contract.mutates:
        yield "a row does not depend on its neighbours", partial(_alone, op, call, device)
    if "cos_sin" in inspect.signature(op.call).parameters:
        yield "a position outside the table gives NaN", partial(_positions, op, call, device)
    if call is wrapper(op.name):  # a candidate need not refuse
        yield "what it cannot serve is refused by name", partial(arguments.violation, op, call, device)
    for name, check in op.contract_checks.items():
        yield name, partial(check, op, call, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The contract checks of the trial's ops."""
    for name, op in trial.ops.items():
        for subject, check in edge_checks(op, wrapper(name), trial.device):
            yield f"{name}: {subject}", check


def _alone(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The same bits for a row alone, among its neighbours, and among many copies of all of them."""
    inputs = case_inputs(op, device)
    count = len(next(value for value in inputs.values() if isinstance(value, torch.Tensor)))
    together = torch.arange(count, device=device)

    def taken(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chosen = {k: v[rows] if isinstance(v, torch.Tensor) and len(v) == count else v for k, v in inputs.items()}
        return run(op, call, chosen)

    crowds = [(len(rows), taken(rows)) for rows in (together, together.repeat(CROWD // count + 1))]
    for row in range(min(count, 3)):
        alone = taken(together[row : row + 1])
        for size, crowd in crowds:
            for name, one, all_rows in zip(op.outputs, alone, crowd, strict=False):
                if not torch.equal(one[0].nan_to_num(7), all_rows[row].nan_to_num(7)):
                    return f"{name} of one row changes with {size - 1} others beside it"
    return None


def _positions(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """For a few tokens and, where a case has them, for many."""
    sizes = [case.get("T", case.get("B")) for case in op.cases if not case.large]
    asked = (_position(op, call, case_inputs(op, device, least)) for least in (3, MANY) if max(sizes) >= least)
    return next(filter(None, asked), None)


def _position(op: Op, call: Callable[..., Any], inputs: Inputs) -> str | None:
    limit = len(inputs["cos_sin"])
    for outside in (limit, limit + 1000, -1):
        positions = inputs["positions"].clone()
        positions[1] = outside
        outputs = run(op, call, inputs | {"positions": positions})
        for name, value in zip(op.outputs, outputs, strict=False):
            if name in ("q", "k", "out") and not value[1].isnan().all():
                return f"{name} at position {outside} of a table of {limit} is not NaN"
    return None
