"""The package under test: its modules and wrappers, and how a check of them runs. Look up modules at every call:
mutation testing replaces them in ``sys.modules``, and ``gate --kernels`` tests another tree.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braidcheck import external_ops
from braidcheck.errors import in_one_line
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test.package import NAME, PackageUnderTest
from braidcheck.gpu_memory import is_out_of_memory

_packages: list[PackageUnderTest] = []
_candidates: dict[str, Callable[..., Any]] = {}


def use_package(folder: Path) -> None:
    """From now on, this process tests the package in ``folder``."""
    _packages[:] = [PackageUnderTest(folder)]


@contextmanager
def use_candidate(op: str, function: Callable[..., Any]) -> Iterator[None]:
    """A context in which this process tests ``function`` as the wrapper of ``op``."""
    _candidates[op] = function
    try:
        yield
    finally:
        del _candidates[op]


def is_candidate(op: str) -> bool:
    """Whether a user's function is tested as the wrapper of ``op``."""
    return op in _candidates


def module(name: str) -> Any:
    """A module of the package under test: from the tree of ``use_package``, else from ``sys.modules``."""
    return _packages[0].module(name) if _packages else importlib.import_module(f"{NAME}.{name}")


def wrapper(op: str) -> Callable[..., Any]:
    """The public wrapper of an op in the package under test, or the candidate for it."""
    return _candidates.get(op) or getattr(code(op)[0], op)


def code(op: str) -> list[Any]:
    """The modules of an op's wrapper, which comes first, and of its kernels."""
    if name := external_ops.module_of(op):
        module("kernels.common.interpreter")  # which patches the interpreter
        importlib.import_module(name)
        return external_ops.code(op)
    return [module(f"kernels.{op}"), module(f"kernels.{op}.kernel")]


def run_check(check: Check) -> str | None:
    """The violation that ``check`` finds, or None; an exception is a violation too."""
    try:
        return check()
    except Exception as error:  # a check that cannot run is a violation
        if is_out_of_memory(error):  # except for lack of memory, which says nothing about the code under test
            raise
        return in_one_line(error)
