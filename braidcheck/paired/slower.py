"""A copy of the package whose kernels do more work: real slow-downs, to learn what the paired gate sees.

Every program of the op's first launched kernel runs a chain of dependent float32 multiply-adds before its own work; its
end is compared with a number that it cannot reach and the compiler cannot know that, so that nothing of it is left out.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from braidcheck.environment import PACKAGE
from braidcheck.errors import UserError

SPIN = """\
_spun = tl.program_id(0).to(tl.float32)
for _ in range({turns}):
    _spun = _spun * 0.9999 + 0.5
if _spun == -1.0:
    tl.store({pointer}, _spun.to({pointer}.dtype.element_ty))
"""


def slow_tree(source: Path, folder: Path, turns: Mapping[str, int]) -> Path:
    """A package like the one in ``source`` in ``folder``, where each op of ``turns`` spins so many times a program."""
    package = folder / PACKAGE.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / PACKAGE.name, package, ignore=ignored, copy_function=os.link)
    for op, count in turns.items():
        path, kernel = launched(package, op)
        text = path.read_text(encoding="utf-8")
        path.unlink()  # it is a link to the original
        path.write_text(slowed(text, kernel, count), encoding="utf-8")
    return folder


def launched(package: Path, op: str) -> tuple[Path, str]:
    """The file and the name of the first kernel that the op launches. Raises UserError where it launches none."""
    own = package / "kernels" / op
    files = sorted(own.glob("*.py")) if own.is_dir() else [own.with_suffix(".py")]
    if not files or not all(file.exists() for file in files):
        raise UserError(f"there is no op {op}")
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    defined = {node.name: file for file, tree in trees.items() for node in tree.body if _is_kernel(node)}
    for name in (name for tree in trees.values() for name in _launches(tree)):
        if name in defined:
            return defined[name], name
    raise UserError(f"{op} launches no kernel of its own")


def slowed(text: str, kernel: str, turns: int) -> str:
    """The source ``text`` with ``turns`` multiply-adds at the start of ``kernel``; as it is for no turns."""
    node = next(node for node in ast.parse(text).body if _is_kernel(node) and node.name == kernel)
    first = node.body[1] if ast.get_docstring(node) else node.body[0]
    pointer = next(argument.arg for argument in node.args.args if argument.arg.endswith("_ptr"))
    spin = SPIN.format(turns=turns, pointer=pointer) if turns else ""
    lines = text.splitlines(keepends=True)
    before, after = lines[: first.lineno - 1], lines[first.lineno - 1 :]
    return "".join([*before, *(f"    {line}\n" for line in spin.splitlines()), *after])


def _is_kernel(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(d).endswith("jit") for d in node.decorator_list)


def _launches(tree: ast.Module) -> Iterator[str]:
    """The names of the kernels launched in a file, ``name[grid](...)``, in the order of the source."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)]
    for call in sorted(calls, key=lambda call: call.lineno):
        if isinstance(call.func.value, ast.Name):
            yield call.func.value.id
