"""Calls with numbers far below and far above those of the cases, and with far indices, in each kernel that an op's
dispatch can choose.

The small calls of ``arguments`` reach one kernel, and change a number by little. Here a number is moved nearly as far
as the call accepts, and the tensors that it is weighed against move with it: the answer still depends on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from braidcheck.gates.edges.arguments import with_changes, wrong_answer
from braidcheck.gates.edges.changes import Change, with_entry
from braidcheck.gates.edges.dtypes import calls_of_each_kernel
from braidcheck.gates.sizes.launches import instead_of_running
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Inputs, Op

NEAR_EPS = "tiny"  # profile: mean squares from 1/30 to 30 times the eps of the cases
USUAL = "tail"
# A number far off shows if other arguments move with it. With eps: where it is small, all that is normalised; where it
# is large, what is added after a norm. With a factor: the first of these that the op has, to the power given (a norm
# undoes what is done to its argument).
BIASES = "bias", "qkv_bias"
NORMED = "x", "residual", "hidden", "q", "k", *BIASES
FACTORS: dict[str, tuple[int, tuple[str, ...]]] = {
    "scale": (-1, ("q_norm_weight", "q")),
    "k_scale": (-1, ("k_norm_weight",)),
    "temperature": (1, ("logits",)),
}
MAX_EXPONENT = 126  # of a factor that float32 and bfloat16 hold, and its inverse
ROOM = 32  # exponents left before the last that is accepted: for sums, and for the digits of small terms
FAR_INDEX = 2**32  # 0 in 32 bits
MAX_NUMBERS = 2**17  # in the tensors of a call: twice as many make prefill's attention cost ten times as much


def violation(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The first change that ``call`` answers wrongly, as text."""
    for inputs in calls(op, call, device):
        for name, kind, change in _changes(op, call, inputs):
            if wrong := wrong_answer(op, call, name, partial(with_changes, inputs, change)):
                sizes = ", ".join(f"{one} {list(x.shape)}" for one, x in inputs.items() if isinstance(x, Tensor))
                return f"{name} {kind}: {wrong}; with {sizes}"
    return None


def calls(op: Op, call: Callable[..., Any], device: str) -> Iterator[Inputs]:
    """One call of each kernel, with rows that show eps if the op has one."""
    profile = NEAR_EPS if "eps" in inspect.signature(op.call).parameters else USUAL
    return calls_of_each_kernel(op, call, device, profile, MAX_NUMBERS)


def _changes(op: Op, call: Callable[..., Any], inputs: Inputs) -> Iterator[tuple[str, str, Change]]:
    for name, value in inputs.items():
        if isinstance(value, float):
            for exponent in far_exponents(op, call, inputs, name):
                yield name, f"of {value * 2.0**exponent:.3g}", partial(_moved, name=name, exponent=exponent)
        elif isinstance(value, Tensor) and value.dtype.itemsize == 8 and not value.is_floating_point():
            yield name, f"{FAR_INDEX} in the last row", partial(_far, name=name)


def far_exponents(op: Op, call: Callable[..., Any], inputs: Inputs, name: str) -> list[int]:
    """The powers of two, below and above, by which the number ``name`` is moved: ROOM before what ``call`` refuses.
    They are even, since the root of eps moves too.
    """
    limits = [
        next((e for e in range(MAX_EXPONENT, ROOM, -1) if _accepts(op, call, inputs, name, sign * e)), 0)
        for sign in (-1, 1)
    ]
    return [sign * ((limit - ROOM) // 2 * 2) for sign, limit in zip((-1, 1), limits, strict=True) if limit]


def _accepts(op: Op, call: Callable[..., Any], inputs: Inputs, name: str, exponent: int) -> bool:
    try:
        with instead_of_running(-1):
            run(op, call, copies(inputs) | {name: inputs[name] * 2.0**exponent})
    except ValueError:
        return False
    return True


def _moved(given: Inputs, name: str, exponent: int) -> Inputs:
    """By powers of two, exactly: the right answer is as near to the kernel's as before."""
    others: tuple[str, ...]
    if name == "eps":
        others, moved = (NORMED, exponent // 2) if exponent < 0 else (BIASES, -exponent // 2)
    else:
        power, names = FACTORS.get(name, (1, ()))
        others, moved = tuple(one for one in names if given.get(one) is not None)[:1], exponent * power
    changed = {one: given[one] * 2.0**moved for one in others if given.get(one) is not None}
    return changed | {name: given[name] * 2.0**exponent}


def _far(given: Inputs, name: str) -> Inputs:
    return {name: with_entry(given[name], -1, FAR_INDEX)}
