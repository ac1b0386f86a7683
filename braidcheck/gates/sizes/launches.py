"""Which kernels a call launches: recorded while they run, or instead of running them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from braidcheck.isolation.surroundings import noted


@dataclass(frozen=True)
class Launch:
    """One launch: its ``code``, that is the kernel, its constants and options but for the size itself; its ``grid``.

    ``compiled`` is the code with the size: what a GPU compiles.
    """

    code: tuple[Any, ...]
    grid: tuple[int, ...]
    compiled: tuple[Any, ...] = ()


@contextmanager
def instead_of_running(size: int) -> Iterator[list[Launch]]:
    """A context in which launches are listed instead of run. A constant that equals ``size`` does not count as
    different code."""
    launches: list[Launch] = []
    # Imported by name here: a mutant's overlay may have replaced the modules since this one was imported.
    interpreted = importlib.import_module("braidcheck.kernels.common.interpreter").INTERPRETED
    kind: Any = InterpretedFunction if interpreted else JITFunction

    def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **given: Any) -> None:
        constants = [(name, _code(value)) for name, value in given.items() if name.isupper() or name.startswith("num_")]
        types = [(name, type(value).__name__) for name, value in given.items() if not isinstance(value, int | float)]
        code = (kernel.__name__, *(named for named in constants if named[1] != size), *types)
        whole = tuple(grid) if isinstance(grid, tuple | list) else ()
        launches.append(Launch(code, whole, (kernel.__name__, *constants, *types)))

    before = kind.run
    kind.run = record
    try:
        with noted("launches", size, tell=lambda rows: launches.extend(map(_elsewhere, rows))):
            yield launches
    finally:
        kind.run = before


def _elsewhere(row: Any) -> Launch:
    """A launch as reported by another process."""
    code, grid, compiled = row
    return Launch((str(code),), tuple(map(int, grid)), (str(compiled),))


def _code(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | str) else type(value).__name__
