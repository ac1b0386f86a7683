"""Adapts callables other than functions: modules, autograd Functions, operators of ``torch.ops``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import Function

from braidcheck.errors import UserError

ALSO = {"eps": ("variance_epsilon", "epsilon")}  # modules' names for an op's arguments


def as_function(value: Any, name: str) -> Callable[..., Any]:
    """``value`` as a function with a signature. Raises UserError for a class instead of an instance."""
    if isinstance(value, torch.nn.Module):
        return of_module(value)
    if isinstance(value, type) and issubclass(value, Function):
        own: Any = value
        return _signed(own.apply, list(inspect.signature(own.forward).parameters.values())[1:])
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        raise UserError(f"{name} is a class: give an instance of it, assigned to a name; the check sets its weights")
    if isinstance(value, torch._ops.OpOverloadPacket):
        return _of_operator(getattr(value, value.overloads()[0]))
    if isinstance(value, torch._ops.OpOverload):
        return _of_operator(value)
    function: Callable[..., Any] = value
    return function


def of_module(module: torch.nn.Module) -> Callable[..., Any]:
    """A function that sets the module's parameters and attributes named like the op's arguments, and passes the other
    arguments to ``forward`` by position, in the op's order."""
    module.requires_grad_(False)
    forward = [one for one in inspect.signature(module.forward).parameters.values() if one.kind is not one.VAR_KEYWORD]

    def call(**kwargs: Any) -> Any:
        left = []
        for name, value in kwargs.items():
            if attribute := _attribute(module, name):
                is_parameter = attribute in module._parameters
                new = torch.nn.Parameter(value, requires_grad=False) if is_parameter else value
                setattr(module, attribute, new)
            else:
                left.append(value)
        return module(*left)

    held = [*module._parameters, *module._buffers, *(name for name in vars(module) if not name.startswith("_")), *ALSO]
    names = dict.fromkeys([*(one.name for one in forward), *held])
    return _signed(call, [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names])


def _attribute(module: torch.nn.Module, name: str) -> str:
    return next((one for one in (name, *ALSO.get(name, ())) if hasattr(module, one) and one != "forward"), "")


def _of_operator(operator: Any) -> Callable[..., Any]:
    kinds = {False: inspect.Parameter.POSITIONAL_OR_KEYWORD, True: inspect.Parameter.KEYWORD_ONLY}
    parameters = [
        inspect.Parameter(one.name, kinds[one.kwarg_only], default=_default(one)) for one in operator._schema.arguments
    ]
    return _signed(operator, parameters)


def _default(argument: Any) -> Any:
    return argument.default_value if argument.has_default_value() else inspect.Parameter.empty


def _signed(call: Callable[..., Any], parameters: Iterable[inspect.Parameter]) -> Callable[..., Any]:
    @functools.wraps(call, assigned=(), updated=())
    def function(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    function.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    return function
