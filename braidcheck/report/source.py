"""Where a blamed kernel lies: file and line, found without importing it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from braidcheck.environment import PACKAGE
from braidcheck.report.failures import blame
from braidcheck.result import Verdict


def place(verdict: Verdict) -> tuple[str, int] | None:
    """File, relative to the source tree, and line of the kernel that ``verdict`` blames; None where it blames none."""
    return next(filter(None, map(_kernel, blame(verdict).ops)), None)


@cache
def _kernel(op: str) -> tuple[str, int] | None:
    if not op.isidentifier():
        return None
    folder = PACKAGE / "kernels" / op
    for path in (folder / "kernel.py", folder / "__init__.py"):
        if path.is_file():
            return path.relative_to(PACKAGE.parent).as_posix(), _line(path)
    return None


def _line(path: Path) -> int:
    """The line of the first Triton function, else the first line."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and any("triton.jit" in ast.unparse(d) for d in node.decorator_list):
            return node.lineno
    return 1
