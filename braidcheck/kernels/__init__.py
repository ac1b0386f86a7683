"""The ops, one folder each; adding a folder here adds the op to every gate."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from braidcheck.op import Op


@cache
def find() -> dict[str, Op]:
    """All ops by name, found by listing this folder.

    Raises ImportError where Triton is missing and TypeError for a folder that defines no ``OP`` of its name.
    """
    ops = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name == "common":
            continue
        op = getattr(importlib.import_module(f"{__name__}.{module.name}"), "OP", None)
        if not isinstance(op, Op) or op.name != module.name:
            raise TypeError(f"{__name__}.{module.name} must define OP, an Op named {module.name!r}")
        ops[op.name] = op
    return ops
