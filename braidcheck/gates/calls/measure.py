"""The checks of the calls gate, each of which returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from braidcheck.gates.calls.layouts import layout_checks
from braidcheck.gates.calls.observe import ViolationError
from braidcheck.gates.calls.state import state_checks
from braidcheck.gates.calls.streams import stream_checks
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import wrapper
from braidcheck.op import Op

CHECKS = (state_checks, layout_checks, stream_checks)


def op_checks(op: Op, device: str) -> dict[str, Check]:
    """The checks of one op by name; the wrapper under test is looked up when a check is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(op.name)(*args, **kwargs)

    call.__wrapped__ = op.call  # type: ignore[attr-defined] # its signature
    return {name: partial(_violation, check) for checks in CHECKS for name, check in checks(op, call, device)}


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of the trial's ops."""
    for name, op in trial.ops.items():
        for subject, check in op_checks(op, trial.device).items():
            yield f"{name}: {subject}", check


def _violation(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ViolationError as error:
        return str(error)
    return None
