"""A copy of the package whose kernels do more work: real slow-downs, to learn what the paired gate sees.

Every program of every launched kernel runs a chain of dependent float32 multiply-adds before its own work; its end is
compared with a number that it cannot reach and the compiler cannot know that, so that nothing of it is left out. How
many is an argument of the launch: one compilation serves all amounts.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from braidcheck.environment import PACKAGE
from braidcheck.errors import UserError

SPIN = """\
_spun = tl.program_id(0).to(tl.float32)
for _ in range(_turns):
    _spun = _spun * 0.9999 + 0.5
if _spun == -1.0:
    tl.store(_sink_ptr, _spun)
"""
_injected: list[tuple[int, Tensor]] = []  # what launches are given now, in the process of a slow tree


def inject_slowdown(turns: int, device: str) -> None:
    """From now on, launches of a slow tree's kernels on ``device`` spin so many times a program."""
    # An odd number: Triton compiles again for 1 and for multiples of 16.
    _injected[:] = [(turns | 1, torch.zeros(1, device=device))]


def work() -> tuple[int, Tensor]:
    """The first two arguments of every launch in a slow tree: multiply-adds, and float32[1], where none is written.

    Raises UserError before ``inject_slowdown``.
    """
    if not _injected:
        raise UserError("a slow tree's kernels are launched after slower.inject_slowdown alone")
    return _injected[0]


def slow_tree(source: Path, folder: Path) -> Path:
    """A package like the one in ``source`` in ``folder``, where every launched kernel spins as ``inject_slowdown``
    said."""
    package = folder / PACKAGE.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / PACKAGE.name, package, ignore=ignored, copy_function=os.link)
    texts = {path: path.read_text(encoding="utf-8") for path in (package / "kernels").rglob("*.py")}
    kernels = launched(texts.values())
    for path, text in texts.items():
        if (slow := slowed(text, kernels)) != text:
            path.unlink()  # it is a link to the original
            path.write_text(slow, encoding="utf-8")
    return folder


def launched(texts: Iterable[str]) -> set[str]:
    """The names of the kernels that some source launches, ``name[grid](...)``, and some source defines."""
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    return {kernel.name for node in nodes if (kernel := kernel_in(node))} & {
        name for node in nodes if (name := launch_in(node))
    }


def slowed(text: str, kernels: set[str]) -> str:
    """The source ``text`` with spinning ``kernels`` and launches that say how long; as it is where it has neither."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    launches = [node for node in nodes if isinstance(node, ast.Call) and launch_in(node) in kernels]
    slow = [kernel for node in nodes if (kernel := kernel_in(node)) and kernel.name in kernels]
    if not launches and not slow:
        return text
    for call in launches:
        call.args.insert(0, ast.Starred(ast.parse("slower.work()", mode="eval").body))
    for node in slow:
        node.args.args[:0] = [ast.arg("_turns"), ast.arg("_sink_ptr")]
        first = 1 if ast.get_docstring(node) else 0
        node.body[first:first] = ast.parse(SPIN).body
    first = 1 + max((at for at, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)), default=-1)
    tree.body[first:first] = ast.parse("from braidcheck.ci.paired import slower").body
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def kernel_in(node: ast.AST) -> ast.FunctionDef | None:
    """``node`` if it defines a kernel."""
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(d).endswith("jit") for d in node.decorator_list):
        return node
    return None


def launch_in(node: ast.AST) -> str | None:
    """The name of the kernel that ``node`` launches, if that is what it does."""
    grid = node.func if isinstance(node, ast.Call) else None
    return grid.value.id if isinstance(grid, ast.Subscript) and isinstance(grid.value, ast.Name) else None
