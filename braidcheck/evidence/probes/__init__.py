"""What ops, engine and loader promise beyond their cases: probes that each give a complaint, or nothing.

They import what they judge anew at every call: a run of mutants may put another package in its place, and the gate may
judge the kernels of another tree.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from braidcheck.errors import in_one_line
from braidcheck.evidence.probes.tree import NAME, Tree
from braidcheck.gpu_memory import is_out_of_memory

Probe = Callable[[], str | None]

_trees: list[Tree] = []


def judge_tree(folder: Path) -> None:
    """From now on, what is judged in this process is the package in ``folder``."""
    _trees[:] = [Tree(folder)]


def module(name: str) -> Any:
    """A module of the package that is judged: of another tree where there is one, else as it is in ``sys.modules``."""
    return _trees[0].module(name) if _trees else importlib.import_module(f"{NAME}.{name}")


def wrapper(op: str) -> Callable[..., Any]:
    """The wrapper of the op of this name that is judged."""
    return getattr(module(f"kernels.{op}"), op)


def home(part: Any) -> ModuleType:
    """The module in which the class of ``part``, a piece of the judged engine, looks up what it calls."""
    name = type(part).__module__
    return module(name.removeprefix(f"{NAME}.")) if name.startswith(f"{NAME}.") else sys.modules[name]


def asked(probe: Probe) -> str | None:
    """The complaint of a probe; an exception is one too."""
    try:
        return probe()
    except Exception as error:  # what cannot even be asked does not keep its promise
        if is_out_of_memory(error):  # which says nothing about it
            raise
        return in_one_line(error)
