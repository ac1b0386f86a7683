"""Checks ops at edge cases outside the accuracy gate's cases; each check returns a violation or None."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from braidcheck.gates.edges import arguments, dtypes, numbers
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import is_candidate, wrapper
from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.numerics.calls import run
from braidcheck.op import Inputs, Op

IS_REFUSED = "is refused"  # name prefix of checks of refusals, which a user's function need not pass
MANY = 65  # rows from which on the kernels for many tokens run


def edge_checks(op: Op, call: Callable[..., Any], device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of ``call``, a candidate for ``op``: first those of its contract, then the op's own."""
    if "cos_sin" in inspect.signature(op.call).parameters:
        yield "a position outside the table gives NaN", partial(_positions, op, call, device)
    if call is wrapper(op.name) and not is_candidate(op.name):  # user functions need not refuse
        yield "what it cannot serve is refused by name", partial(arguments.violation, op, call, device)
        yield "an argument of another dtype than the others", partial(dtypes.violation, op, call, device)
        yield "far numbers and indices, in each kernel", partial(numbers.violation, op, call, device)
    for name, check in op.contract_checks.items():
        if not (name.endswith(IS_REFUSED) and is_candidate(op.name)):
            yield name, partial(check, op, call, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The contract checks of the trial's ops."""
    for name, op in trial.ops.items():
        for subject, check in edge_checks(op, wrapper(name), trial.device):
            yield f"{name}: {subject}", check


def _positions(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """For few tokens and, if the op's cases have them, for many."""
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
