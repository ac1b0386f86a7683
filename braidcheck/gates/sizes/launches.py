"""Which kernels a call launches: recorded while it runs, or instead of running them."""

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
    """Within, launches are listed and nothing is run. A constant that is the ``size`` itself is no other code."""
    found: list[Launch] = []
    # By name: a mutant's overlay may have been put in place of the modules that were there when this was imported.
    interpreted = importlib.import_module("braidcheck.kernels.common.interpreter").INTERPRETED
    kind: Any = InterpretedFunction if interpreted else JITFunction

    def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **given: Any) -> None:
        constants = [(name, _code(value)) for name, value in given.items() if name.isupper() or name.startswith("num_")]
        types = [(name, type(value).__name__) for name, value in given.items() if not isinstance(value, int | float)]
        code = (kernel.__name__, *(named for named in constants if named[1] != size), *types)
        whole = tuple(grid) if isinstance(grid, tuple | list) else ()
        found.append(Launch(code, whole, (kernel.__name__, *constants, *types)))

    before = kind.run
    kind.run = record
    try:
        with noted("launches", size, tell=lambda rows: found.extend(map(_elsewhere, rows))):
            yield found
    finally:
        kind.run = before


def _elsewhere(row: Any) -> Launch:
    """A launch in another process, as it tells it."""
    code, grid, compiled = row
    return Launch((str(code),), tuple(map(int, grid)), (str(compiled),))


def _code(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | str) else type(value).__name__
