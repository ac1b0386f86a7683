"""The process in which a user's function runs: it loads, calls and watches the function; the parent evaluates it."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from braidcheck import environment
from braidcheck.config import nearest
from braidcheck.errors import UserError, in_one_line
from braidcheck.gates.under_test.callables import as_function
from braidcheck.gpu_memory import context_is_broken
from braidcheck.isolation import privacy
from braidcheck.isolation.channel import Message
from braidcheck.isolation.settings_kept import settings_kept
from braidcheck.kernels.common.interpreter_language import cannot_interpret

MAX_TEXT = 2000  # characters of what an exception says
KERNELS = "braidcheck.kernels."
SOURCES = Path(os.path.realpath(environment.PACKAGE)) / "kernels"
# Folders of the ops' files, and of their bytecode if that is kept elsewhere.
FOLDERS = (SOURCES, Path(os.path.realpath(sys.pycache_prefix or "/"), *SOURCES.parts[1:]))


def main() -> None:
    """Run with the descriptors of the channel and of the results file."""
    privacy.drop_privileges()
    privacy.end_with_parent()
    channel, file = map(int, sys.argv[1:])
    import numpy

    from braidcheck.gates.under_test.around import within
    from braidcheck.isolation.server import Server, serve
    from braidcheck.kernels.common import interpreter

    if interpreter.INTERPRETED:
        privacy.limit_memory()
        numpy.seterr(all="ignore")  # numbers overflow in the interpreter as on a GPU, without a warning
    worker = Worker(Server(file, within))
    serve(channel, worker.answer)


class Worker:
    """The last loaded function, and calls of it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._function: Callable[..., Any] | None = None
        self._bind: Callable[..., Any] | None = None
        self._guarded = False

    def answer(self, message: Message, fds: Sequence[int]) -> Message:
        """Handle a message: load a function, call it, or look at its results."""
        if "load" in message:
            return self._load(message)
        try:
            answer: Message = self._server.answer(message, fds, self._bind)
        except BaseException as error:  # a function that ends its process raises SystemExit
            return {"raised": self._raised(error), "last": context_is_broken()}
        return answer

    def _load(self, message: Message) -> Message:
        if not message["load"].startswith(KERNELS):
            sys.meta_path.insert(0, NoKernels())
            if not self._guarded:
                self._guarded = True
                sys.addaudithook(_refuse_kernel_files)
        try:
            self._function = load(message["load"])
        except UserError as error:
            return {"refused": str(error)}
        parameters = _parameters(self._function)
        self._bind = partial(_called_alone, self._function, message["parameters"])
        takes_all = parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        return {"takes": list(parameters or ()), "takes_all": takes_all}

    def _raised(self, error: BaseException) -> Message:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        own = isinstance(error, Exception)
        text = _text(error) if own else f"{type(error).__name__} instead of a return: the function must return"
        return {"kinds": kinds if own else ["ReturnedError"], "text": text, "where": self._where(error),
                "module": type(error).__module__, "uninterpreted": cannot_interpret(error)}  # fmt: skip

    def _where(self, error: BaseException) -> str:
        """File and line of the function's own code at which it raised; empty if it did not."""
        file = getattr(inspect.unwrap(self._function), "__code__", None) if self._function else None
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if file and frame.filename == file.co_filename]
        return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


class NoKernels(importlib.abc.MetaPathFinder):
    """Hides the package's kernels and oracles from a function that is checked against them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise ImportError for an op's module."""
        if name.startswith(KERNELS) and name.split(".")[2] != "common":
            raise ImportError(f"{name} holds the expected answers: the function must compute its own")


def _refuse_kernel_files(event: str, about: tuple[Any, ...]) -> None:
    """Refuse any way of opening an op's files in Python, by an audit hook, which cannot be removed."""
    if event != "open" or not isinstance(about[0], str | bytes):
        return
    path = Path(os.path.realpath(os.fsdecode(about[0])))
    for folder in filter(path.is_relative_to, FOLDERS):
        inside = path.relative_to(folder).parts
        if len(inside) > 1 and inside[0] not in ("common", "__pycache__"):
            raise ImportError(f"{inside[0]} holds the expected answers: the function must compute its own")


def load(name: str) -> Callable[..., Any]:
    """The function called ``FILE.py:FUNCTION`` or ``package.module:function``. Raises UserError if there is none."""
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise UserError(f"{name!r} names no function: give FILE.py:FUNCTION or package.module:function")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    except UserError:
        raise
    except BaseException as error:  # a module that ends the process must not look like success
        raise UserError(f"{where} cannot be imported: {in_one_line(error)}") from None
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not callable(value):
        raise UserError(f"{where} has no function {attribute!r}{nearest(attribute, _functions(module))}")
    return as_function(value, name)


def _functions(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value)]


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file {path}{nearest(path.name, (each.name for each in path.parent.glob('*.py')))}")
    sys.path.insert(0, str(path.parent.resolve()))  # as for a script: its neighbours can be imported
    spec = importlib.util.spec_from_file_location(f"candidate_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def called(function: Callable[..., Any], parameters: dict[str, bool], **kwargs: Any) -> Any:
    """Call with required arguments, those of ``parameters`` that are true, by position: their names may differ."""
    required = {name: kwargs[name] for name, is_required in parameters.items() if is_required}
    optional = {name: value for name, value in kwargs.items() if name not in required}
    try:
        inspect.signature(function).bind(*required.values(), **optional)
    except ValueError:  # it has no signature
        pass
    except TypeError:
        return function(**required, **optional)
    return function(*required.values(), **optional)


def _called_alone(function: Callable[..., Any], parameters: dict[str, bool], **kwargs: Any) -> Any:
    """Like ``called``; raises LeftBehindError if the function changes settings of its process."""
    with settings_kept():
        return called(function, parameters, **kwargs)


class NotTakenError(NotImplementedError):
    """The function lacks an argument that it is called with."""


def as_op(op: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the signature of ``op``. An optional argument that it lacks is dropped if it has its default
    value; else the call raises NotTakenError."""
    parameters = inspect.signature(op.call).parameters
    required = {name: p.default is p.empty for name, p in parameters.items()}

    @functools.wraps(op.call)
    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(op.call).bind(*args, **kwargs).arguments
        lacking = [name for name in arguments if not required[name] and not takes(function, name)]
        if unserved := [name for name in lacking if arguments[name] is not parameters[name].default]:
            named = getattr(function, "__name__", type(function).__name__)
            raise NotTakenError(f"{named} does not take {' or '.join(unserved)}")
        return called(function, required, **{name: value for name, value in arguments.items() if name not in lacking})

    return call


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has an argument of that name."""
    parameters = _parameters(function)
    return parameters is None or name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _parameters(function: Callable[..., Any]) -> Any:
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return None


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:
        return "an exception whose text cannot be shown"
