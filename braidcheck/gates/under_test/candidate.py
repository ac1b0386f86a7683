"""A user's function in place of an op's wrapper: it takes the op's arguments and returns plain tensors. The function
runs in its own process (``worker.py``); oracles exist only in this one.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import re
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.isolation import surroundings
from braidcheck.isolation.channel import Message
from braidcheck.isolation.exchange import Exchange, NotPlain
from braidcheck.isolation.process import EndedError, TimeLimitError
from braidcheck.op import Case, Inputs, Op

REFUSALS = (ValueError, NotImplementedError, AssertionError)
OF_LAYOUT = re.compile(r"stride|contiguous|view size|same dtype", re.IGNORECASE)  # PyTorch's refusals, as RuntimeError
MIN_WAIT_S = 0.001
MAX_TEXT = 2000  # characters of what the function raised


class NotServedError(NotImplementedError):
    """The function lacks an argument of the call."""


class ReturnedError(Exception):
    """The function ended the process, or returned something other than plain tensors."""


class NoLaunchError(Exception):
    """The function computed outside of kernels, against --must-launch."""


class Candidate:
    """A function called as ``op.call`` is; it may name required arguments differently and lack optional ones.

    ``seconds`` are left to the process; ``file`` is the function's, where that was given; ``raised`` is what the
    function raised in its last call, ``where`` the line of its file, ``uninterpreted`` why the interpreter and not the
    function is at fault; ``strided`` the strides of outputs whose rows were not contiguous. Calls raise EndedError
    where the process ends or has no time left.
    With ``must_launch`` a call that computes anything outside of Triton kernels raises NoLaunchError.
    """

    def __init__(self, op: Op, function: str, exchange: Exchange, seconds: float, must_launch: bool = False) -> None:
        """Load ``FILE.py:FUNCTION`` or ``package.module:function``. Raises UserError if there is none."""
        functools.update_wrapper(self, op.call)  # the op's signature
        self.op, self.function, self.seconds = op, function, seconds
        where = function.rpartition(":")[0]
        self.file = Path(where) if where.endswith(".py") else None
        self.raised: BaseException | None = None
        self.where = self.uninterpreted = ""
        self.strided: dict[str, list[int]] = {}
        self._exchange, self._must_launch = exchange, must_launch
        parameters = inspect.signature(op.call).parameters
        self._defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
        self._required = {name: name not in self._defaults for name in parameters}
        try:
            self._load()
        except TimeLimitError:
            raise UserError(f"{function} cannot be imported within {seconds:g} s") from None
        except EndedError as how:
            raise UserError(f"{function} cannot be imported: {how}") from None

    def missing(self, case: Case) -> list[str]:
        """The optional arguments of ``case`` that the function does not take."""
        return [name for name in case.needs if not self._takes(name)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function. Raises what it raises, and ReturnedError for exceptions that would end the process."""
        self.raised, self.where, self.uninterpreted = None, "", ""
        inputs = self._supported(inspect.signature(self.op.call).bind(*args, **kwargs).arguments)
        share: list[Any] = []
        with surroundings.noted("share", tell=share.append) if self._must_launch else nullcontext():
            answer = self._timed(self._exchange.call, inputs)
        if raised := answer.get("raised"):
            self._raise(raised)
        is_empty = any(isinstance(value, Tensor) and not value.numel() for value in inputs.values())
        if share and not is_empty and not _is_set_aside():
            _require_launches(*share[0])
        values = [self._plain_output(name, value, inputs) for name, value in self._named(answer["outputs"])]
        if not values:
            raise ReturnedError("the function returned nothing")
        return tuple(values) if answer.get("many") is True else values[0]

    def race(self, inputs: Mapping[str, Any]) -> str | None:
        """The first race of one call in the interpreter, recorded in the function's process."""
        races: list[Any] = []
        with surroundings.noted("race", tell=races.append):
            self(**inputs)
        return str(races[0]) if races and races[0] else None

    def look(self) -> None:
        """Update results that are still alive to their current contents in the function's process."""
        self._timed(self._exchange.look)

    def refusal(self) -> str:
        """How the last call refused what it was given, in one line; empty if it did not."""
        text = str(self.raised).strip()
        layout = isinstance(self.raised, RuntimeError) and OF_LAYOUT.search(text)
        if self.raised is None or not (layout or isinstance(self.raised, REFUSALS)):
            return ""
        first = (text.splitlines() or [""])[0]
        return first if isinstance(self.raised, NotServedError) else f"{type(self.raised).__name__}: {first}"

    def _load(self) -> None:
        answer = self._timed(self._exchange.ask, {"load": self.function, "parameters": self._required})
        if "refused" in answer:
            raise UserError(_plain_text(answer["refused"]))
        self._takes_all = answer.get("takes_all") is True
        self._names = {str(name) for name in answer.get("takes", [])}
        self._exchange.loaded = self.function

    def _timed(self, ask: Any, *about: Any) -> Any:
        if ask != self._exchange.ask and self._exchange.loaded != self.function:
            self._load()
        started = time.monotonic()
        try:
            return ask(*about, max(MIN_WAIT_S, self.seconds))
        finally:
            self.seconds -= time.monotonic() - started

    def _takes(self, name: str) -> bool:
        return self._takes_all or name in self._names

    def _supported(self, inputs: Mapping[str, Any]) -> Inputs:
        """The arguments without optional ones that the function lacks and that have their default value."""
        lacking = [name for name in inputs if name in self._defaults and not self._takes(name)]
        if unserved := [name for name in lacking if inputs[name] is not self._defaults[name]]:
            self.raised = NotServedError(f"does not take {' or '.join(unserved)}")
            raise self.raised
        return {name: value for name, value in inputs.items() if name not in lacking}

    def _raise(self, raised: Message) -> None:
        kinds, text = [str(kind) for kind in raised["kinds"]], _plain_text(raised["text"])
        self.where = " ".join(_plain_text(raised.get("where", "")).split())
        if lacking := _plain_text(raised.get("uninterpreted", "")):
            self.uninterpreted = f"the interpreter cannot run this kernel, a GPU may: {lacking}"
        error = _error(kinds, text)
        if not str(raised.get("module", "")).startswith("braidcheck."):  # a watcher's, which is no answer of its own
            self.raised = error
        raise error

    def _named(self, outputs: list[Any]) -> list[tuple[str, Any]]:
        return list(zip([*self.op.outputs, *[""] * len(outputs)], outputs, strict=False))

    def _plain_output(self, name: str, value: Any, inputs: Mapping[str, Any]) -> Any:
        if isinstance(value, NotPlain):
            raise ReturnedError(f"{name} {_plain_text(value)}")
        if not isinstance(value, Tensor):
            return value
        for argument in inputs.values():
            if isinstance(argument, Tensor) and _is_same(value, argument):
                return argument
        if not value.dim() or value[:1].is_contiguous():
            return value
        memory = [each.untyped_storage().data_ptr() for each in inputs.values() if isinstance(each, Tensor)]
        self.strided[name] = list(value.stride())
        return value if value.untyped_storage().data_ptr() in memory or 0 in value.stride() else value.contiguous()


def _is_set_aside() -> bool:
    """Whether launches are only listed or recorded, not made as usual."""
    return bool({"launches", "race"} & {each.name for each in surroundings.current()})


def _require_launches(launches: int, computed: list[str], left: list[str]) -> None:
    if not launches:
        raise NoLaunchError("no Triton kernel was launched, which --must-launch requires")
    if computed:
        names = _plain_text(", ".join(map(str, computed)))
        raise NoLaunchError(f"PyTorch computed {names} outside of a kernel, which --must-launch forbids")
    if left:
        names = _plain_text(", ".join(map(str, left)))
        raise NoLaunchError(f"numbers left PyTorch by {names}; --must-launch requires computing them in a kernel")


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether both are the same elements of the same memory."""
    at = one.data_ptr(), one.dtype, one.shape, one.stride()
    return bool(one.numel()) and at == (other.data_ptr(), other.dtype, other.shape, other.stride())


def _error(kinds: list[str], text: str) -> Exception:
    """An exception of the first of these types that Python has, named like the first."""
    known = {"ReturnedError": ReturnedError} | vars(builtins)
    base = next((known[kind] for kind in kinds if _is_exception(known.get(kind))), Exception)
    name = kinds[0] if kinds and kinds[0].isidentifier() and len(kinds[0]) < 80 else base.__name__
    error: Exception = type(name, (base,), {"__str__": lambda self: text, "__init__": lambda self: None})()
    return error


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _plain_text(value: object) -> str:
    """Text of another process without terminal control characters."""
    return "".join(each for each in str(value)[:MAX_TEXT] if each.isprintable() or each == "\n")
