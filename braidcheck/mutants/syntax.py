"""Places in a syntax tree, and replacing nodes there."""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Iterator
from typing import Any


def children(parent: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """Each child with its place in the parent: a field, or a field and an index."""
    for field, value in ast.iter_fields(parent):
        if isinstance(value, ast.AST):
            yield field, value
        elif isinstance(value, list):
            yield from (((field, index), child) for index, child in enumerate(value) if isinstance(child, ast.AST))


def put(parent: ast.AST, place: Any, code: Any) -> None:
    """Put a node at a place from ``children``, or a list of nodes at a field and a slice."""
    if isinstance(place, tuple):
        getattr(parent, place[0])[place[1]] = code
    else:
        setattr(parent, place, code)


def lines(statement: ast.stmt) -> range:
    """The lines, from 1, of a statement with its decorators."""
    first = min(node.lineno for node in (statement, *getattr(statement, "decorator_list", ())))
    return range(first, (statement.end_lineno or first) + 1)


def assigned(function: ast.AST) -> dict[str, int]:
    """The line, by name, from whose end on a name that the function assigns has a value."""
    ends: dict[str, int] = {}
    for statement in ast.walk(function):
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (inner for target in targets for inner in ast.walk(target)):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    end = statement.end_lineno or statement.lineno
                    ends[node.id] = min(end, ends.get(node.id, end))
    return ends


def replaced(source: str, span: range, text: str) -> str:
    """``source`` with ``text`` for these lines.

    What follows keeps its line where the text is shorter: Triton's cache takes a kernel on another line for a new one.
    """
    old, new = source.splitlines(keepends=True), text.splitlines()
    new += [""] * (len(span) - len(new))
    return "".join([*old[: span.start - 1], *(f"{line}\n" for line in new), *old[span.stop - 1 :]])


def difference(before: str, after: str) -> tuple[int, list[str]]:
    """The first line that differs between two versions of a source, and a diff: of the unparsed trees, or of the texts
    if the trees are the same."""
    old, new = ast.parse(before), ast.parse(after)
    texts = ast.unparse(old), ast.unparse(new)
    if texts[0] == texts[1]:
        texts = before, after
    rows = zip(before.splitlines(), after.splitlines(), strict=False)
    written = next((number for number, (one, other) in enumerate(rows, 1) if one != other), 1)
    changed = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), lineterm="", n=0)
    shown = [line for line in changed if line[:3] not in ("---", "+++") and line[:2] != "@@"]
    return _first_change(old, new) or written, shown


def same(old: object, new: object) -> bool:
    """Whether two trees, or lists of them, read the same: 1, 1.0 and True do not."""
    if type(old) is not type(new):
        return False
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, ast.AST):
        return all(same(getattr(old, field, None), getattr(new, field, None)) for field in old._fields)
    return repr(old) == repr(new)


def _first_change(before: ast.AST, after: ast.AST) -> int:
    """The line of the first node that differs between two trees; 0 if no node with a line differs."""
    for (_, old), (_, new) in zip(ast.iter_fields(before), ast.iter_fields(after), strict=False):
        if same(old, new):
            continue
        olds, news = (one if isinstance(one, list) else [one] for one in (old, new))
        alike = itertools.takewhile(lambda pair: same(*pair), zip(olds, news, strict=False))
        place = len(list(alike))
        one, other = (found[place] if place < len(found) else None for found in (olds, news))
        inner = 0
        if isinstance(one, ast.AST) and isinstance(other, ast.AST) and type(one) is type(other):
            inner = _first_change(one, other)
        return inner or getattr(one, "lineno", 0) or getattr(before, "lineno", 0)
    return 0
