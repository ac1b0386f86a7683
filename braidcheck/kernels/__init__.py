"""The ops, one folder each; adding a folder here adds the op to every gate."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from braidcheck.op import Op


@cache
def find() -> dict[str, Op]:
    """All ops by name, found by listing this folder: each has its declaration in ``<op>/op.py``.

    Raises ImportError where Triton or an ``op.py`` is missing and TypeError where that defines no ``OP`` of its name.
    """
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
