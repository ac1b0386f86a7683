"""Calls with another eps and with far indices, in each kernel that an op's dispatch can choose.

The small calls of ``arguments`` reach one kernel, and their rows are so large that eps does not matter; the rows here
have mean squares near eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from braidcheck.gates.edges.arguments import with_changes, wrong_answer
from braidcheck.gates.edges.changes import Change, with_entry
from braidcheck.gates.edges.dtypes import calls_of_each_kernel
from braidcheck.op import Inputs, Op

PROFILE = "tiny"  # mean squares from 1/30 to 30 times the eps of the cases
SMALLER = 2.0**-23  # what is normalised, and the root of eps: a larger number than either would show
NORMED = "x", "residual", "hidden", "q", "k", "bias", "qkv_bias"
LARGER = 64  # times eps
FAR_INDEX = 2**32  # 0 in 32 bits


def violation(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The first change that ``call`` answers wrongly, as text."""
    for inputs in calls_of_each_kernel(op, call, device, PROFILE):
        for name, kind, change in _changes(inputs):
            if wrong := wrong_answer(op, call, name, partial(with_changes, inputs, change)):
                sizes = ", ".join(f"{one} {list(x.shape)}" for one, x in inputs.items() if isinstance(x, Tensor))
                return f"{name} {kind}: {wrong}; with {sizes}"
    return None


def _changes(inputs: Inputs) -> Iterator[tuple[str, str, Change]]:
    for name, value in inputs.items():
        if name == "eps":
            yield name, f"of {value * LARGER:.3g}", partial(_multiplied, name=name, factor=LARGER)
            yield name, f"of {value * SMALLER**2:.3g}", _smaller
        elif isinstance(value, Tensor) and value.dtype.itemsize == 8 and not value.is_floating_point():
            yield name, f"{FAR_INDEX} in the last row", partial(_far, name=name)


def _multiplied(given: Inputs, name: str, factor: float) -> Inputs:
    return {name: given[name] * factor}


def _smaller(given: Inputs) -> Inputs:
    """Exact, so that the right answer is as near to the kernel's as without it."""
    return {name: given[name] * SMALLER for name in NORMED if name in given} | {"eps": given["eps"] * SMALLER**2}


def _far(given: Inputs, name: str) -> Inputs:
    return {name: with_entry(given[name], -1, FAR_INDEX)}
