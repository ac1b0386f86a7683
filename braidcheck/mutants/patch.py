"""The patch of a named mutant, held against the syntax tree: layout, comments, quotes and parentheses may change."""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from braidcheck.mutants.syntax import children, lines, put, replaced, same

Code = Sequence[ast.AST]
Change = tuple[ast.AST, Any, Any, int]  # what ``put`` takes, and the line


class StalePatch(Exception):
    """The patch does not apply exactly once; says why."""


@dataclass(frozen=True)
class Patch:
    """``new`` for ``old`` in ``function`` of ``file`` below the package.

    Both are an expression, neighbours in a list of arguments or elements, or a run of statements; ``new`` may be empty.
    ``function`` is a name after those around it ("Class.method", "outer.inner"), or "" for the whole file.
    """

    file: str
    function: str
    old: str
    new: str

    def applied(self, package: Path) -> str:
        """The file's text with the patch in it. Raises StalePatch where ``old`` does not stand there exactly once."""
        path = package / self.file
        if not path.exists():
            raise StalePatch(f"there is no {self.file}")
        source = path.read_text(encoding="utf-8")
        tree = _parsed(source)
        scope = self._scope(tree)
        changes = [change for old, new in self._readings() for change in _changes(scope, old, new)]
        if len(changes) != 1:
            where = f"{self.function} of {self.file}" if self.function else self.file
            raise StalePatch(f"its expression stands {len(changes)} times in {where}, must be once")
        return _exchanged(source, tree, *changes[0])

    def _scope(self, tree: ast.Module) -> ast.AST:
        if not self.function:
            return tree
        nodes = _by_name(tree)[self.function]
        if len(nodes) != 1:
            raise StalePatch(f"{self.file} defines {self.function} {len(nodes)} times, must be once")
        return nodes[0]

    def _readings(self) -> Iterator[tuple[Code, Code]]:
        """``old`` and ``new`` as statements and as arguments: "a=b" is either. Raises StalePatch for neither."""
        readings = [(read(self.old), read(self.new)) for read in (_as_statements, _as_arguments)]
        readable = [(old, new) for old, new in readings if old and new is not None]
        if not readable:
            raise StalePatch("its old and new must be expressions, arguments or statements")
        # An expression is a statement too: it is looked for wherever it stands.
        both = len(readable) == 2 and all(len(code) == 1 and isinstance(code[0], ast.Expr) for code in readable[0])
        yield from readable[both:]


@lru_cache(maxsize=8)
def _parsed(source: str) -> ast.Module:
    """The tree of a file, which its patches share: whoever changes it puts back what stood there."""
    return ast.parse(source)


@lru_cache(maxsize=8)
def _by_name(tree: ast.Module) -> dict[str, list[ast.AST]]:
    nodes = defaultdict(list)
    for name, node in definitions(tree):
        nodes[name].append(node)
    return nodes


def definitions(node: ast.AST, around: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every function and class in ``node``, by its name after those around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        within = around
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            within = f"{around}.{child.name}" if around else child.name
            yield within, child
        yield from definitions(child, within)


def _as_statements(code: str) -> Code | None:
    try:
        return ast.parse(textwrap.dedent(code)).body
    except SyntaxError:
        return None


def _as_arguments(code: str) -> Code | None:
    try:
        call = ast.parse(f"_({code}\n)", mode="eval").body
    except SyntaxError:
        return None
    return [*call.args, *call.keywords] if isinstance(call, ast.Call) else None


def _changes(scope: ast.AST, old: Code, new: Code) -> Iterator[Change]:
    """Every place in ``scope`` where ``old`` stands, with the code that replaces it there."""
    alone = len(old) == len(new) == 1
    for parent, place in _places(scope)[type(old[0])]:
        if isinstance(place, tuple):
            field, start = place
            run = slice(start, start + len(old))
            statements = getattr(parent, field)[run]
            if same(statements, list(old)):
                yield parent, (field, run), new, _line(statements[0])
        elif alone and same(statements := getattr(parent, place), old[0]):
            yield parent, place, new[0], _line(statements)


@lru_cache(maxsize=64)
def _places(scope: ast.AST) -> dict[type, list[tuple[ast.AST, Any]]]:
    """By type the parent and the place of every node in ``scope``: a patch looks only at its own type."""
    places = defaultdict(list)
    for parent in ast.walk(scope):
        for place, child in children(parent):
            places[type(child)].append((parent, place))
    return places


def _line(node: Any) -> int:
    return node.lineno


def _exchanged(source: str, tree: ast.Module, parent: ast.AST, place: Any, new: Any, line: int) -> str:
    """``source``, whose tree this is, with ``new`` at a place of it, which begins on ``line``."""
    whole = parent is tree
    outermost = tree.body[place[1]] if whole else [node for node in tree.body if line in lines(node)]
    span = range(lines(outermost[0]).start, lines(outermost[-1]).stop)
    field = place[0] if isinstance(place, tuple) else place
    before = getattr(parent, field)
    if isinstance(before, list):
        before = before.copy()
    put(parent, place, new)
    try:
        return replaced(source, span, "\n".join(map(ast.unparse, new if whole else outermost)))
    finally:
        setattr(parent, field, before)
