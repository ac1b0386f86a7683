"""Mutants of one source file of another project: of what Triton compiles, and of the functions that launch it."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from braidcheck.errors import UserError
from braidcheck.mutants.generate import said
from braidcheck.mutants.operators import changes_nothing
from braidcheck.mutants.patch import definitions
from braidcheck.mutants.project.operators import is_spared, proposals
from braidcheck.mutants.syntax import assigned, children, lines, put

DEVICE, HOST = "device", "host"
UNDEFINED = "braidcheck_asks_whether_this_is_run"  # a name that nobody defines
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceMutant:
    """One fault. ``file`` is a path from the project's root, ``line`` where the fault lies, from 1; ``text`` the whole
    file with the fault in it, ``diff`` the lines that differ."""

    id: str
    file: str
    function: str
    family: str
    operator: str
    description: str
    line: int
    diff: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class _Place:
    """A function of the file that may be mutated."""

    name: str
    family: str
    node: Function


class SourceFile:
    """A file of another project, as it stands now."""

    def __init__(self, root: Path, path: Path, kernels: Sequence[str] = ()) -> None:
        """``kernels`` are those that other files define. Raises UserError for what is no Python source."""
        self.file = path.relative_to(root).as_posix()
        try:
            self.source = path.read_text(encoding="utf-8")
            self.tree = ast.parse(self.source)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"--source {path} cannot be read as Python: {error}") from None
        self.kernels = _kernels(self.tree)
        self.places = list(_places(self.tree, {*self.kernels, *kernels}))
        self._bytes = self.source.encode()
        starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def mutants(self) -> Iterator[SourceMutant]:
        """All of them, in the order of the source. No two have the same bytecode, and none that of the original."""
        for place in self.places:
            counts: Counter[str] = Counter()
            known = {_bytecode(place.node)}
            for node, operator, replacement, code in _faults(place.node):
                if code in known:
                    continue
                known.add(code)
                counts[operator] += 1
                text = self._edited(place.node, node, replacement)
                yield SourceMutant(
                    id=f"{Path(self.file).stem}.{place.name}.{operator}.{counts[operator]}", file=self.file,
                    function=place.name, family=place.family, operator=operator, description=said(node, replacement),
                    line=getattr(node, "lineno", place.node.lineno), diff=_diff(self.source, text), text=text,
                )  # fmt: skip

    def unreachable(self, function: str) -> str:
        """The file with a body of ``function`` that cannot be run or compiled."""
        node = next(place.node for place in self.places if place.name == function)
        first, last = node.body[0], node.body[-1]
        return self._spliced(self._offset(first), self._end(last), UNDEFINED)

    def unimportable(self) -> str:
        """The file, which cannot be imported."""
        return f"raise ImportError({UNDEFINED!r})\n"

    def _edited(self, function: Function, node: ast.AST, replacement: ast.AST) -> str:
        """The file with ``replacement`` for ``node``, and all else as it was; where that cannot be, the function is
        written from its tree."""
        if isinstance(node, ast.If) and isinstance(replacement, ast.If):
            node, replacement = node.test, replacement.test
        if isinstance(node, ast.For) and isinstance(replacement, ast.For):
            node, replacement = node.iter, replacement.iter
        mutated = _mutated(function, node, replacement)
        text = ast.unparse(ast.fix_missing_locations(replacement))
        for written in (text, f"({text})"):
            edited = self._spliced(self._offset(node), self._end(node), written)
            if _dump_of(edited, function) == ast.dump(ast.parse(mutated).body[0]):
                return edited
        indent = " " * function.col_offset
        rewritten = "\n".join(indent + line if line else "" for line in mutated.splitlines())
        span = lines(function)
        return self._spliced(self._starts[span.start - 1], self._starts[span.stop - 1], rewritten + "\n")

    def _spliced(self, start: int, end: int, text: str) -> str:
        return (self._bytes[:start] + text.encode() + self._bytes[end:]).decode()

    def _offset(self, node: Any) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: Any) -> int:
        return self._starts[node.end_lineno - 1] + node.end_col_offset


def is_device(function: Function) -> bool:
    """Whether Triton compiles the function: ``@triton.jit``, ``@triton.jit(...)`` or ``@jit``."""
    names = (ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list)
    return any(name in ("triton.jit", "jit") for name in names)


def _kernels(tree: ast.Module) -> list[str]:
    return [node.name for _, node in definitions(tree) if isinstance(node, Function) and is_device(node)]


def _places(tree: ast.Module, kernels: set[str]) -> Iterator[_Place]:
    for name, node in definitions(tree):
        if isinstance(node, Function):
            if is_device(node):
                yield _Place(name, DEVICE, node)
            elif any(_names(inner, kernels) for inner in _own_nodes(node)):
                yield _Place(name, HOST, node)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of the body, without those of functions in it that are places themselves."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop(0)
        if (isinstance(node, Function) and is_device(node)) or is_spared(node):
            continue
        yield node
        todo[:0] = list(ast.iter_child_nodes(node))


def _names(node: ast.AST, kernels: set[str]) -> bool:
    """Whether ``node`` is the name of a kernel, as in ``kernel[grid](...)`` or in a choice of two."""
    return (isinstance(node, ast.Name) and node.id in kernels) or (
        isinstance(node, ast.Attribute) and node.attr in kernels
    )


def _faults(function: Function) -> Iterator[tuple[ast.AST, str, ast.AST, Any]]:
    """Node, operator, replacement and the bytecode of the function with it; none that Python cannot compile."""
    parameters = function.args
    arguments = [argument.arg for argument in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)]
    ends = assigned(function)
    places = {child: (parent, field) for parent in ast.walk(function) for field, child in children(parent)}
    for node in list(_own_nodes(function)):
        if not hasattr(node, "lineno"):
            continue
        parent, field = places[node]
        known = [name for name, end in ends.items() if end < node.lineno]
        for operator, replacement in proposals(node, arguments, known):
            if changes_nothing(operator, parent):
                continue
            put(parent, field, replacement)
            try:
                code = _bytecode(function)
            except (SyntaxError, ValueError, TypeError):
                code = None
            put(parent, field, node)
            if code is not None:
                yield node, operator, replacement, code


def _mutated(function: Function, node: ast.AST, replacement: ast.AST) -> str:
    places = {child: (parent, field) for parent in ast.walk(function) for field, child in children(parent)}
    parent, field = places[node]
    put(parent, field, replacement)
    text = ast.unparse(ast.fix_missing_locations(function))
    put(parent, field, node)
    return text


def _dump_of(source: str, function: Function) -> str:
    """The tree, as text, of the function that stands in ``source`` where ``function`` stood in the original."""
    try:
        functions = [node for _, node in definitions(ast.parse(source)) if isinstance(node, Function)]
    except (SyntaxError, ValueError):
        return ""
    return next((ast.dump(n) for n in functions if (n.name, n.lineno) == (function.name, function.lineno)), "")


def _bytecode(function: Function) -> Any:
    """What Python makes of the function, without lines: the same for what is only written otherwise."""
    bare = ast.FunctionDef("f", function.args, function.body, [], None, lineno=1, col_offset=0)
    return _plain(compile(ast.parse(ast.unparse(ast.fix_missing_locations(bare))), "", "exec"))


def _plain(code: CodeType) -> Any:
    constants = [_plain(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return (code.co_code, tuple(constants), code.co_names, code.co_varnames, code.co_freevars)


def _diff(before: str, after: str) -> tuple[str, ...]:
    changed = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return tuple(line for line in changed if line[:3] not in ("---", "+++") and line[:2] != "@@")
