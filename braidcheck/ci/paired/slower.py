"""A copy of the package whose kernels do extra work: real slow-downs, to measure what the paired gate detects.

Every program of every launched kernel runs a chain of dependent float32 multiply-adds before its own work. The result
is compared with a value that it cannot reach, which the compiler cannot know, so the chain is not optimised away. Its
length is a launch argument: one compilation serves all lengths.
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
_injected: list[tuple[int, Tensor]] = []  # the current extra launch arguments, in the process of a slow tree


def inject_slowdown(turns: int, device: str) -> None:
    """From now on, each program of a slow tree's launches on ``device`` spins so many times."""
    # An odd number: Triton specialises kernels for 1 and for multiples of 16.
    _injected[:] = [(turns | 1, torch.zeros(1, device=device))]


def work() -> tuple[int, Tensor]:
    """The first two arguments of every launch in a slow tree: the spin count, and a float32[1] sink that is never
    written. Raises UserError before ``inject_slowdown``.
    """
    if not _injected:
        raise UserError("call slower.inject_slowdown before launching a slow tree's kernels")
    return _injected[0]


def slow_tree(source: Path, folder: Path) -> Path:
    """A copy of the package ``source`` in ``folder`` whose launched kernels spin as set by ``inject_slowdown``."""
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
    """The names of the kernels that the sources define and launch, ``name[grid](...)``."""
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    return {kernel.name for node in nodes if (kernel := kernel_in(node))} & {
        name for node in nodes if (name := launch_in(node))
    }


def slowed(text: str, kernels: set[str]) -> str:
    """The source ``text`` with spinning ``kernels`` and launches that pass the spin count; unchanged if it has
    neither."""
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
    first = 1 + max((index for index, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)), default=-1)
    tree.body[first:first] = ast.parse("from braidcheck.ci.paired import slower").body
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def kernel_in(node: ast.AST) -> ast.FunctionDef | None:
    """The function ``node`` if it defines a kernel."""
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(d).endswith("jit") for d in node.decorator_list):
        return node
    return None


def launch_in(node: ast.AST) -> str | None:
    """The name of the kernel that ``node`` launches, if it is a launch."""
    grid = node.func if isinstance(node, ast.Call) else None
    return grid.value.id if isinstance(grid, ast.Subscript) and isinstance(grid.value, ast.Name) else None
