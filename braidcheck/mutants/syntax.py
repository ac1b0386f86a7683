"""Places in a syntax tree, and putting something else there."""

from __future__ import annotations

import ast
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
    """Put a node at a place that ``children`` names, or a list of nodes at a field and a slice."""
    if isinstance(place, tuple):
        getattr(parent, place[0])[place[1]] = code
    else:
        setattr(parent, place, code)


def lines(statement: ast.stmt) -> range:
    """The lines, from 1, of a statement with its decorators."""
    first = min(node.lineno for node in (statement, *getattr(statement, "decorator_list", ())))
    return range(first, (statement.end_lineno or first) + 1)


def replaced(source: str, span: range, text: str) -> str:
    """``source`` with ``text`` for these lines.

    What follows keeps its line where the text is shorter: Triton's cache takes a kernel on another line for a new one.
    """
    old, new = source.splitlines(keepends=True), text.splitlines()
    new += [""] * (len(span) - len(new))
    return "".join([*old[: span.start - 1], *(f"{line}\n" for line in new), *old[span.stop - 1 :]])
