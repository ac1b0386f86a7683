"""The gates as pytest items: each runs an op or the model, hands what was seen to a gate and returns its verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braidcheck.environment import why_no_triton
from braidcheck.op import Op
from braidcheck.plugin import EVERY_OP, SETTINGS


def each_op(metafunc: Any, concerned: Callable[[Op], bool] = lambda op: True) -> None:
    """Make an item for each op to judge that is ``concerned``; one for all where Triton is missing."""
    chosen, ops = metafunc.config.stash[SETTINGS].ops, [EVERY_OP]
    if not why_no_triton():
        from braidcheck import kernels

        ops = [name for name, op in kernels.find().items() if (not chosen or name in chosen) and concerned(op)]
    metafunc.parametrize("op", ops)
