"""Calls an op or a candidate for it: on copies, in float64, with new outputs poisoned."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from braidcheck.isolation.surroundings import noted
from braidcheck.op import Case, Inputs, Op


def run(op: Op, function: Callable[..., Any], inputs: Inputs) -> tuple[Any, ...]:
    """The outputs of one call: its return values, then the arguments that its contract lists as mutated."""
    required, optional = [], {}
    for name, parameter in inspect.signature(op.call).parameters.items():
        if parameter.default is parameter.empty:
            required.append(name)
        elif name in inputs:
            optional[name] = inputs[name]
    try:
        # Required arguments by position: a candidate's names may differ.
        bound = inspect.signature(function).bind(*(inputs[name] for name in required), **optional)
    except TypeError:
        bound = inspect.signature(function).bind(**{name: inputs[name] for name in required}, **optional)
    returned = function(*bound.args, **bound.kwargs)
    if len(op.contract.mutates) == len(op.outputs):
        returned = ()  # an in-place op: its return value, if any, is ignored
    outputs = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    return *outputs, *(inputs[name] for name in op.contract.mutates)


def copies(inputs: Mapping[str, Any]) -> Inputs:
    """The same arguments with cloned tensors, since a call may write into them."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in inputs.items()}


def in_float64(inputs: Mapping[str, Any]) -> Inputs:
    """The same numbers in float64; a requested float dtype becomes float64 too."""

    def exact(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    return {name: exact(value) for name, value in copies(inputs).items()}


def poison(dtype: torch.dtype) -> float:
    """A finite number far from any answer: 2**100, or a quarter of the type's maximum if that is smaller. A GPU's max
    drops NaN, so reading NaN poison may go unnoticed; this number wins every max.
    """
    largest = torch.finfo(dtype).max
    return 2.0**100 if largest > 2.0**100 else largest / 4


def with_finite_poison(inputs: Mapping[str, Any]) -> Inputs:
    """The same arguments with finite poison instead of NaN in memory that a call may not read."""
    return {
        name: value.nan_to_num(poison(value.dtype), posinf=torch.inf, neginf=-torch.inf)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in inputs.items()
    }


class _FinitePoison(TorchFunctionMode):
    """A context in which new float tensors are filled with finite poison."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if (
            function in (torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty)
            and made.dtype.is_floating_point
        ):
            made.fill_(poison(made.dtype))
        return made


@contextmanager
def poisoned_outputs(finite: bool = False) -> Iterator[None]:
    """A context in which ``torch.empty`` is filled with NaN, or with ``poison``: unwritten elements cannot pass."""
    # Not by torch.use_deterministic_algorithms, which imports the compiler: a second per process.
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        with _FinitePoison() if finite else nullcontext(), noted("poisoned outputs", finite):
            yield
    finally:
        torch.set_deterministic_debug_mode(before)


def input_bytes(op: Op, case: Case) -> int:
    """Bytes of the input tensors of ``case``; these are really made only where their sizes depend on random numbers."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode  # most of a second

    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            inputs = op.inputs(case, "cpu")
    except DataDependentOutputException:
        inputs = op.inputs(case, "cpu")
    return sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
