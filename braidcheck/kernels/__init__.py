"""The ops, one folder each; adding a folder here adds the op to every gate, as does naming one that lies elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from braidcheck import external_ops
from braidcheck.errors import UserError
from braidcheck.op import Op


def find() -> dict[str, Op]:
    """All ops by name: those of this folder, each with its declaration in ``<op>/op.py``, and announced external ones.

    Raises ImportError where Triton or an ``op.py`` is missing and TypeError where that defines no ``OP`` of its name;
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
    for module in pkgutil.iter_modules(__path__):
        if module.name == "common":
            continue
        declaration = importlib.import_module(f"{__name__}.{module.name}.op")
        op = getattr(declaration, "OP", None)
        if not isinstance(op, Op) or op.name != module.name:
            raise TypeError(f"{declaration.__name__} must define OP, an Op named {module.name!r}")
        ops[op.name] = op
    return ops
