"""Which ops a device function or a file can affect, from the source: a fault there is evaluated on these ops."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from braidcheck import external_ops
from braidcheck.mutants.mutant import PACKAGE

KERNELS = PACKAGE / "kernels"
OUTSIDE = "../"
EVALUATE = ("__init__", "inputs", "negative_controls", "variants", "blocks", "baselines")  # not run by any wrapper
SHARED = tuple(sorted(p.stem for p in (KERNELS / "common").glob("*.py") if p.stem not in EVALUATE))  # run by ops
Name = tuple[str, str]  # a shared file and the name of one of its functions


def part(file: str) -> str:
    """The op that a kernel file belongs to; else the file's own name."""
    steps = Path(file).with_suffix("").parts
    return steps[1] if steps[0] == "kernels" and len(steps) > 2 and steps[1] != "common" else steps[-1]


def is_shared(file: str) -> bool:
    """Whether several ops run code of ``file``."""
    return Path(file).parts[:2] == ("kernels", "common") and Path(file).stem in SHARED


def ops(file: str, function: str | None = None) -> tuple[str, ...]:
    """The ops that run ``function`` of ``file``, or any part of it; none if kernels do not run it. Code of a shared
    file that no op uses by name, such as the interpreter's patches, affects all ops.
    """
    if file.startswith(OUTSIDE):
        return tuple(op for op, files in external().items() if file in files)
    if is_shared(file):
        definitions = _users({(part(file), function)}) if function else set()
        return tuple(op for op, names in _names_by_op().items() if names & definitions) or every()
    return (part(file),) if part(file) in _names_by_op() else ()


def every() -> tuple[str, ...]:
    """All ops, by the names of their files."""
    return (*_names_by_op(), *external())


def external() -> dict[str, dict[str, Path]]:
    """The code files of each external op, by their names relative to the package."""
    if not external_ops.declared():
        return {}
    from braidcheck import kernels

    names = [name for name in kernels.find() if external_ops.module_of(name)]
    return {name: {OUTSIDE + file: path for file, path in external_ops.files(name).items()} for name in names}


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The top-level functions of a file by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def is_device(function: ast.FunctionDef) -> bool:
    """Whether Triton compiles the function."""
    return any(ast.unparse(decorator) == "triton.jit" for decorator in function.decorator_list)


@cache
def _names_by_op() -> dict[str, set[Name]]:
    """For each op, what its files use of the shared files."""
    names_by_op: dict[str, set[Name]] = {}
    for path in sorted(KERNELS.glob("*/*.py")):
        if path.parent.name != "common":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names_by_op.setdefault(path.parent.name, set()).update(_taken(tree, _aliases(tree)))
    return names_by_op


def _aliases(tree: ast.Module) -> dict[str, Name]:
    """A file's imports from the shared files: by its own name for each, the file and the name there, "" for the file
    itself."""
    aliases: dict[str, Name] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("braidcheck.kernels.common"):
            source = (node.module or "").removeprefix("braidcheck.kernels.common").removeprefix(".")
            for alias in node.names:
                aliases[alias.asname or alias.name] = (source, alias.name) if source else (alias.name, "")
    return {word: name for word, name in aliases.items() if name[0] in SHARED}


def _taken(node: ast.AST, aliases: dict[str, Name]) -> Iterator[Name]:
    """The shared names that stand in ``node``, by itself or after their file's."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id in aliases:
            yield aliases[inner.value.id][0], inner.attr
        elif isinstance(inner, ast.Name) and aliases.get(inner.id, ("", ""))[1]:
            yield aliases[inner.id]


def _users(names: set[Name]) -> set[Name]:
    """``names`` and all shared functions that use one of them, directly or not."""
    while more := {name for name, used in _uses().items() if used & names} - names:
        names = names | more
    return names


@cache
def _uses() -> dict[Name, set[Name]]:
    """Per function of the shared files what it uses of them, its own file's functions among it."""
    uses: dict[Name, set[Name]] = {}
    for file in SHARED:
        path = KERNELS / "common" / f"{file}.py"
        own = functions(path)
        aliases = _aliases(ast.parse(path.read_text(encoding="utf-8"))) | {name: (file, name) for name in own}
        for name, node in own.items():
            uses[file, name] = set(_taken(node, aliases))
    return uses
