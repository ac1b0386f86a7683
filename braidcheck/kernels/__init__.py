"""The ops, one folder each; adding a folder here, or naming an external op, adds the op to every gate."""

from __future__ import annotations

import importlib
import importlib.abc
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from braidcheck import external_ops
from braidcheck.errors import UserError, in_one_line
from braidcheck.op import Op

_left_out: dict[str, str] | None = None  # by op, why it cannot be imported; None where that is an error of ``find``


def find() -> dict[str, Op]:
    """All ops by name: those of this folder, each with its declaration in ``<op>/op.py``, and announced external ones.

    Raises ImportError if Triton or an ``op.py`` is missing and TypeError where that defines no ``OP`` of its name;
    UserError where an external op cannot be imported, or has the name of another.
    """
    return _find(external_ops.declared())


@cache
def _find(declarations: tuple[external_ops.Declaration, ...]) -> dict[str, Op]:
    ops = dict(_own())
    for op in external_ops.load(declarations):
        if op.name in ops:
            raise UserError(f"two ops are called {op.name}: give the function of one another name")
        ops[op.name] = op
    return ops


@cache
def _own() -> dict[str, Op]:
    ops = {}
    for name in names():
        try:
            ops[name] = _declared(name)
        except Exception as error:  # an op's modules may raise anything: only this op is left out
            if _left_out is None:
                raise
            _left_out.setdefault(name, f"{name} cannot be imported: {in_one_line(error)}")
    return ops


def names() -> Iterator[str]:
    """The ops of this folder, without importing any."""
    return (module.name for module in pkgutil.iter_modules(__path__) if module.name != "common")


def _declared(name: str) -> Op:
    declaration = importlib.import_module(f"{__name__}.{name}.op")
    op = getattr(declaration, "OP", None)
    if not isinstance(op, Op) or op.name != name:
        raise TypeError(f"{declaration.__name__} must define OP, an Op named {name!r}")
    return op


def leave_out(broken: Mapping[str, str]) -> None:
    """From now on ``find`` gives the ops that can be imported, and ``left_out`` says why others cannot.

    Those of ``broken``, by op and reason, would end this process: an import of them raises ImportError instead.
    """
    global _left_out
    _left_out = dict(broken)
    sys.meta_path.insert(0, _Refusal(broken))


def left_out() -> Mapping[str, str]:
    """Why ops cannot be imported, by op; empty before ``leave_out``."""
    if _left_out is None:
        return {}
    _own()
    return _left_out


class _Refusal(importlib.abc.MetaPathFinder):
    def __init__(self, broken: Mapping[str, str]) -> None:
        self._broken = {f"{__name__}.{name}": reason for name, reason in broken.items()}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if reason := self._broken.get(name):
            raise ImportError(reason)
