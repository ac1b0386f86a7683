"""Somebody else's function in the place of an op's wrapper: it takes the op's arguments and gives plain tensors."""

from __future__ import annotations

import functools
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck.op import Case, Op

REFUSALS = (ValueError, NotImplementedError, AssertionError)
OF_LAYOUT = re.compile(r"stride|contiguous|view size", re.IGNORECASE)  # what PyTorch says of a layout, as RuntimeError


class NotServedError(NotImplementedError):
    """The function lacks an argument of the call."""


class ReturnedError(Exception):
    """The function ended the process, or returned what is no plain tensor."""


class Candidate:
    """A function called as ``op.call`` is; it may name required arguments otherwise and leave optional ones out.

    ``raised`` is what it raised in its last call, ``strided`` the strides of outputs whose rows were not contiguous.
    """

    def __init__(self, op: Op, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, op.call)  # the op's signature
        self.op, self.function = op, function
        self.raised: BaseException | None = None
        self.strided: dict[str, list[int]] = {}
        parameters = _parameters(function)
        self._takes_all = parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._names = set(parameters or ())

    def missing(self, case: Case) -> list[str]:
        """The optional arguments of ``case`` that the function does not take."""
        return [name for name in case.needs if not self._takes(name)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function. Raises what it raises, and ReturnedError in place of what would end the process."""
        given = inspect.signature(self.op.call).bind(*args, **kwargs).arguments
        self.raised = None
        try:
            returned = self._bound(given)()
        except Exception as error:
            self.raised = error
            raise
        except BaseException as error:
            self.raised = error
            raise ReturnedError(f"{type(error).__name__} instead of a return: the function must return") from None
        return self._plain(returned, given)

    def refusal(self) -> str:
        """How the last call refused what it was given, in one line; empty where it did not."""
        text = str(self.raised).strip()
        layout = isinstance(self.raised, RuntimeError) and OF_LAYOUT.search(text)
        if self.raised is None or not (layout or isinstance(self.raised, REFUSALS)):
            return ""
        return f"{type(self.raised).__name__}: {(text.splitlines() or [''])[0]}"

    def where(self) -> str:
        """File and line of the function's own code at which the last call raised; empty where it did not raise."""
        file = getattr(inspect.unwrap(self.function), "__code__", None)
        frames = traceback.extract_tb(self.raised.__traceback__) if self.raised else []
        own = [frame for frame in frames if file and frame.filename == file.co_filename]
        return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""

    def _takes(self, name: str) -> bool:
        return self._takes_all or name in self._names

    def _bound(self, given: Mapping[str, Any]) -> Callable[[], Any]:
        required, optional = [], {}
        for name, parameter in inspect.signature(self.op.call).parameters.items():
            if parameter.default is parameter.empty:
                required.append(name)
            elif name in given and (self._takes(name) or given[name] is not parameter.default):
                optional[name] = given[name]
        if lacking := [name for name in optional if not self._takes(name)]:
            raise NotServedError(f"does not take {' or '.join(lacking)}")
        values = [given[name] for name in required]
        try:  # required arguments by position: the function may name them otherwise
            inspect.signature(self.function).bind(*values, **optional)
        except ValueError:  # it has no signature
            return functools.partial(self.function, *values, **optional)
        except TypeError:
            return functools.partial(self.function, **{name: given[name] for name in required}, **optional)
        return functools.partial(self.function, *values, **optional)

    def _plain(self, returned: Any, given: Mapping[str, Any]) -> Any:
        if isinstance(returned, tuple | list):
            named = zip([*self.op.outputs, *[""] * len(returned)], returned, strict=False)
            return tuple(self._plain_output(name, value, given) for name, value in named)
        return self._plain_output(self.op.outputs[0], returned, given)

    def _plain_output(self, name: str, value: Any, given: Mapping[str, Any]) -> Any:
        if not isinstance(value, Tensor):
            return value
        if type(value) not in (Tensor, torch.nn.Parameter):
            raise ReturnedError(f"{name} is {type(value).__name__}, a subclass of Tensor: return a plain tensor")
        if value.layout is not torch.strided or value.device.type == "meta":
            raise ReturnedError(f"{name} is a {value.layout} tensor on {value.device}: return a dense one with data")
        value = value.detach() if value.requires_grad else value
        memory = [each.untyped_storage().data_ptr() for each in given.values() if isinstance(each, Tensor)]
        if not value.dim() or value[:1].is_contiguous():
            return value
        self.strided[name] = list(value.stride())
        return value if value.untyped_storage().data_ptr() in memory or 0 in value.stride() else value.contiguous()


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except ValueError:
        return None
