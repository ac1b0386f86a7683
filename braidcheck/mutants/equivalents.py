"""Equivalent implementations of every op: other roundings under the same contract, which no gate may fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from braidcheck import kernels


def find(op: str) -> dict[str, Callable[..., Any]]:
    """The equivalent implementations of the op called ``op``, by name, each called exactly like its wrapper; none if
    unknown."""
    ops = kernels.find()
    if op not in ops:
        return {}
    wrappers = SimpleNamespace(**{name: one.call for name, one in ops.items()})
    composed = {name: partial(function, wrappers) for name, function in ops[op].compositions.items()}
    return {**ops[op].variants, **composed}
