"""The file and line of a blamed kernel, in this package or in the user's project, found without importing it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from braidcheck import external_ops
from braidcheck.environment import PACKAGE
from braidcheck.report.failures import blame
from braidcheck.result import Verdict


def place(verdict: Verdict) -> tuple[str, int] | None:
    """File, relative to the source tree, and line of the kernel that ``verdict`` blames; None if it blames none."""
    return next(filter(None, (_kernel(op) or _external(op) for op in blame(verdict).ops)), None)


@cache
def _kernel(op: str) -> tuple[str, int] | None:
    if not op.isidentifier():
        return None
    folder = PACKAGE / "kernels" / op
    for path in (folder / "kernel.py", folder / "__init__.py"):
        if path.is_file():
            return path.relative_to(PACKAGE.parent).as_posix(), _line(path)
    return None


def _external(op: str) -> tuple[str, int] | None:
    """For an external op: the file that declares it, or the one from which that imports the wrapper."""
    for one in external_ops.declared():
        path = _file(Path(one.root), one.module)
        tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
        if path is None or op not in _calls(tree):
            continue
        homes = (node.module for node in tree.body if isinstance(node, ast.ImportFrom) and op in _named(node))
        home = next(filter(None, (_file(Path(one.root), module or "") for module in homes)), path)
        return (home.relative_to(Path.cwd()).as_posix(), _line(home)) if home.is_relative_to(Path.cwd()) else None
    return None


def _file(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _calls(tree: ast.Module) -> set[str]:
    """The names that ``OP = Op(call=NAME)`` gives: an op is called as its wrapper."""
    assigned = (node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    words = (word for value in assigned if isinstance(value, ast.Call) for word in value.keywords)
    return {word.value.id for word in words if word.arg == "call" and isinstance(word.value, ast.Name)}


def _named(node: ast.ImportFrom) -> set[str]:
    return {alias.asname or alias.name for alias in node.names}


def _line(path: Path) -> int:
    """The line of the first Triton function, else the first line."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and any("triton.jit" in ast.unparse(d) for d in node.decorator_list):
            return node.lineno
    return 1
