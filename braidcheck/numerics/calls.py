"""Call an op or a candidate for it: on copies, in float64, with every new output filled with NaN."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from braidcheck.op import Case, Inputs, Op


def run(op: Op, function: Callable[..., Any], inputs: Inputs) -> tuple[Any, ...]:
    """The outputs of one call: what it returns, or the arguments that its contract says it changes."""
    required, optional = [], {}
    for name, parameter in inspect.signature(op.call).parameters.items():
        if parameter.default is parameter.empty:
            required.append(name)
        elif name in inputs:
            optional[name] = inputs[name]
    try:
        # Required arguments by position: a candidate may name them otherwise.
        bound = inspect.signature(function).bind(*(inputs[name] for name in required), **optional)
    except TypeError:
        bound = inspect.signature(function).bind(**{name: inputs[name] for name in required}, **optional)
    returned = function(*bound.args, **bound.kwargs)
    if len(op.contract.mutates) == len(op.outputs):
        returned = ()  # such an op works in place: what it returns, if anything, is its own business
    outputs = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    return *outputs, *(inputs[name] for name in op.contract.mutates)


def copies(inputs: Mapping[str, Any]) -> Inputs:
    """The same arguments, tensors cloned: a call may write into them."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in inputs.items()}


def in_float64(inputs: Mapping[str, Any]) -> Inputs:
    """The same numbers in float64; a float type that is asked for becomes float64 too."""

    def exact(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    return {name: exact(value) for name, value in copies(inputs).items()}


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """Every ``torch.empty`` within is filled with NaN, so that an element nobody writes cannot pass."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def input_bytes(op: Op, case: Case) -> int:
    """Bytes of the input tensors of ``case``; they take memory only where their sizes follow from numbers."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            inputs = op.inputs(case, "cpu")
    except DataDependentOutputException:
        inputs = op.inputs(case, "cpu")
    return sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
