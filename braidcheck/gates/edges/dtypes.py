"""An op's call with arguments of another dtype than the others have, in each kernel that its dispatch can choose.

A contract lets an argument differ where its wrapper serves it. Which others must change with it is read off the
refusals: they name them. Which kernels there are follows from the launches at the sizes of the cases.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.edges.arguments import with_outputs, wrong_answer
from braidcheck.gates.edges.changes import cast
from braidcheck.gates.sizes.launches import instead_of_running
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Inputs, Op

Call = Callable[..., Any]
# What the others have, and what those that differ have: first more bits, then others that a cast back loses too, where
# kernels take 16 bits alone.
BEFORE, AFTER = "bfloat16", (torch.float32, torch.float16)


def violation(op: Op, call: Call, device: str) -> str | None:
    """The first call with an argument of another dtype that ``call`` answers wrongly, in words."""
    asked = set[Any]()
    smallest = list(_calls(op, call, device))
    for dtype, inputs in ((dtype, inputs) for dtype in AFTER for inputs in smallest):
        for name in _of_floats(op, inputs):
            names, kernels = _served(op, call, inputs, name, dtype)
            if names and (names, kernels) not in asked:
                asked.add((names, kernels))
                wrong = wrong_answer(op, call, "|".join(inputs), partial(_changed, inputs, names, dtype))
                if wrong:
                    return f"{' and '.join(sorted(names))} of {dtype}, all others of {BEFORE}: {wrong}"
    return None


def _calls(op: Op, call: Call, device: str) -> Iterator[Inputs]:
    """The smallest inputs for each choice of kernels and of optional arguments."""
    sizes = {tuple(sorted(case.axes.items())): case for case in op.cases if not case.large}
    found = set[Any]()
    for case in sorted(sizes.values(), key=lambda case: math.prod(max(1, size) for size in case.axes.values())):
        inputs = with_outputs(op, op.inputs(replace(case, dtype=BEFORE, profile="tail"), device))
        kernels = frozenset(inputs), _kernels(op, call, inputs)
        if kernels not in found:
            found.add(kernels)
            yield inputs


def _of_floats(op: Op, inputs: Inputs) -> list[str]:
    return [name for name in inspect.signature(op.call).parameters if _dtype(inputs.get(name)) is not None]


def _dtype(value: Any) -> torch.dtype | None:
    dtype = value.dtype if isinstance(value, Tensor) else value
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else None


def _changed(inputs: Inputs, names: frozenset[str], dtype: torch.dtype) -> Inputs:
    given = copies(inputs)
    return given | {name: cast(given[name], dtype) if isinstance(given[name], Tensor) else dtype for name in names}


def _served(
    op: Op, call: Call, inputs: Inputs, name: str, dtype: torch.dtype
) -> tuple[frozenset[str], tuple[Any, ...] | None]:
    """The arguments that have ``dtype`` if ``name`` has it, and the kernels that are then launched; none if refused."""
    names, floats = {name}, _of_floats(op, inputs)
    while len(names) < len(floats):
        try:
            return frozenset(names), _kernels(op, call, _changed(inputs, frozenset(names), dtype))
        except Exception as error:  # a refusal, of which the other gates ask whether it is one in words
            more = {other for other in floats if re.search(rf"\b{other}\b", str(error))} - names
        if not more:
            break
        names |= more
    return frozenset(), None


def _kernels(op: Op, call: Call, inputs: Inputs) -> tuple[Any, ...]:
    """The kernels of a call, each with its switches and with whether its blocks are of one or more."""
    with instead_of_running(-1) as launches:
        run(op, call, copies(inputs))
    return tuple((kernel, *filter(None, map(_switch, parts))) for kernel, *parts in (one.code for one in launches))


def _switch(constant: tuple[str, Any]) -> tuple[str, Any] | None:
    name, value = constant
    if isinstance(value, bool):
        return name, value
    return (name, value == 1) if name.startswith("BLOCK_") else None
