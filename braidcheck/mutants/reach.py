"""Which ops a device function or a file can reach, read from the source: what a fault there is judged on."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from braidcheck.mutants.mutant import PACKAGE

KERNELS = PACKAGE / "kernels"
SHARED = "kernels/_device.py"


def part(file: str) -> str:
    """The op that a kernel file belongs to; else the file's own name."""
    steps = Path(file).with_suffix("").parts
    return steps[1] if steps[0] == "kernels" and len(steps) > 1 else steps[-1]


def ops(file: str, function: str | None = None) -> tuple[str, ...]:
    """The ops that run ``function`` of ``file``, or any of it; none where kernels do not run it.

    What of the shared file no op asks for by name, as the mending of the interpreter, is there for all of them.
    """
    if file == SHARED:
        wanted = _callers(function) if function else set()
        return tuple(op for op, names in _imports().items() if names & wanted) or tuple(_imports())
    return (part(file),) if part(file) in _imports() else ()


def every() -> tuple[str, ...]:
    """All ops, by the names of their files."""
    return tuple(_imports())


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The functions of a file by name, outermost ones only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def function_at(path: Path, line: int) -> str | None:
    """The function of ``path`` in which ``line`` (from 1) lies."""
    for name, node in functions(path).items():
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            return name
    return None


@cache
def _imports() -> dict[str, set[str]]:
    """Per op the names that its files take from the shared device functions."""
    found: dict[str, set[str]] = {}
    for path in sorted(KERNELS.rglob("*.py")):
        op = part(path.relative_to(PACKAGE).as_posix())
        if op.startswith("_"):
            continue
        found.setdefault(op, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "braidcheck.kernels._device":
                found[op] |= {alias.name for alias in node.names}
    return found


def _callers(function: str) -> set[str]:
    """``function`` and all that call it, directly or not, among the shared ones."""
    calls, wanted = _calls(KERNELS / "_device.py"), {function}
    while more := {name for name, used in calls.items() if used & wanted} - wanted:
        wanted |= more
    return wanted


@cache
def _calls(path: Path) -> dict[str, set[str]]:
    return {
        name: {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        for name, node in functions(path).items()
    }
