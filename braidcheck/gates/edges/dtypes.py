"""Calls an op with some arguments of another dtype than the rest, in each kernel that its dispatch can choose.

An argument's dtype may differ where the wrapper accepts it. Which other arguments must change with it is taken from the
refusals, which name them; which kernels there are, from the launches at the sizes of the cases.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.edges.arguments import with_outputs, wrong_answer
from braidcheck.gates.sizes.launches import instead_of_running
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Inputs, Op

Call = Callable[..., Any]
# Arguments whose dtypes are tied have one dtype, all others another with more bits, so that a cast to the first loses
# some; and, since some kernels take 16 bits only, another with as many.
ONE, OTHERS = "bfloat16", (torch.float32, torch.float16)
MAX_NUMBERS = 2**18  # in the tensors of a call
SCALE = 2.0**-5  # of some rows of each argument, so that each argument dominates some results


def violation(op: Op, call: Call, device: str) -> str | None:
    """The first call with arguments of two dtypes that ``call`` answers wrongly, as text."""
    asked = set[Any]()
    base = [_with_small_rows(op, inputs) for inputs in calls_of_each_kernel(op, call, device, "tail")]
    for dtype, inputs in ((dtype, inputs) for dtype in OTHERS for inputs in base):
        floats = _of_floats(op, inputs)
        for tied in dict.fromkeys(_served(op, call, inputs, {name}, dtype)[0] for name in sorted(floats)):
            names, kernels = _served(op, call, inputs, floats - tied, dtype)
            if tied and names and (names, kernels) not in asked:
                asked.add((names, kernels))
                wrong = wrong_answer(op, call, "|".join(inputs), partial(_changed, inputs, names, dtype))
                if wrong:
                    return f"{' and '.join(sorted(names))} of {dtype}, all others of {ONE}: {wrong}"
    return None


def calls_of_each_kernel(
    op: Op, call: Call, device: str, profile: str, max_numbers: int = MAX_NUMBERS
) -> Iterator[Inputs]:
    """For each choice of kernels the largest inputs up to ``max_numbers``, with as many optional arguments as cases
    give."""
    sizes = {tuple(sorted(case.axes.items())): case for case in op.cases if not case.large}
    cases = [replace(case, dtype=ONE, profile=profile) for case in sizes.values()]
    found: list[tuple[tuple[Any, ...], set[str]]] = []
    for inputs in sorted((_inputs(op, case, device) for case in cases), key=partial(_order, max_numbers)):
        try:
            kernels, names = _kernels(op, call, inputs), set(inputs)
        except ValueError:  # a refusal: the accuracy gate says which cases are served
            continue
        if not any(kernels == others and names <= given for others, given in found):
            found.append((kernels, names))
            yield inputs


def _order(max_numbers: int, inputs: Inputs) -> tuple[int, bool, int]:
    count = sum(value.numel() for value in inputs.values() if isinstance(value, Tensor))
    return -len(inputs), count > max_numbers, -count if count <= max_numbers else count


def _inputs(op: Op, case: Case, device: str) -> Inputs:
    """The case's inputs, with the arguments that set an output's memory or dtype."""
    inputs = op.inputs(case, device)
    sources = {name for output in op.contract.outputs.values() for name in output.split(" or ")}
    absent = sources & set(inspect.signature(op.call).parameters) - set(inputs)
    return with_outputs(op, inputs | dict.fromkeys(absent, getattr(torch, ONE)))


def _with_small_rows(op: Op, inputs: Inputs) -> Inputs:
    """Some rows of each argument are small."""
    for place, name in enumerate(name for name in sorted(_of_floats(op, inputs)) if isinstance(inputs[name], Tensor)):
        rows = inputs[name]
        rows[torch.arange(len(rows), device=rows.device) >> place & 1 > 0] *= SCALE
    return inputs


def _of_floats(op: Op, inputs: Inputs) -> set[str]:
    return {name for name in inspect.signature(op.call).parameters if _dtype(inputs.get(name)) == getattr(torch, ONE)}


def _dtype(value: Any) -> torch.dtype | None:
    dtype = value.dtype if isinstance(value, Tensor) else value
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else None


def _changed(inputs: Inputs, names: frozenset[str], dtype: torch.dtype) -> Inputs:
    given = copies(inputs)
    return given | {name: _numbers(given[name], dtype) if isinstance(given[name], Tensor) else dtype for name in names}


def _numbers(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of ``dtype``, near those of ``value``, that the type before does not have."""
    between = torch.linspace(1 + 2.0**-10, 1 + 2.0**-8, value.numel(), dtype=torch.float64, device=value.device)
    return (value.nan_to_num(0.5).double() * between.view(value.shape)).to(dtype)


def _served(
    op: Op, call: Call, inputs: Inputs, names: set[str], dtype: torch.dtype
) -> tuple[frozenset[str], tuple[Any, ...] | None]:
    """The arguments that must have ``dtype`` if ``names`` have it, and the kernels then launched; none if the call
    refuses that. A refusal is a ValueError; any other exception is a crash, which ends the check."""
    floats = _of_floats(op, inputs)
    while 0 < len(names) < len(floats):
        try:
            return frozenset(names), _kernels(op, call, _changed(inputs, frozenset(names), dtype))
        except ValueError as error:
            more = {other for other in floats if re.search(rf"\b{other}\b", str(error))} - names
        if not more:
            break
        names = names | more
    return frozenset(), None


def _kernels(op: Op, call: Call, inputs: Inputs) -> tuple[Any, ...]:
    """The kernels of a call, each with its boolean constexprs and whether its blocks have size 1."""
    with instead_of_running(-1) as launches:
        run(op, call, copies(inputs))
    return tuple((kernel, *filter(None, map(_switch, parts))) for kernel, *parts in (one.code for one in launches))


def _switch(constant: tuple[str, Any]) -> tuple[str, Any] | None:
    name, value = constant
    if isinstance(value, bool):
        return name, value
    return (name, value == 1) if name.startswith("BLOCK_") else None
