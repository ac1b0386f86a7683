"""Records which branches of kernels and which launch configs ran.

The interpreter runs kernels as Python, from syntax trees that it makes at a kernel's first launch: these are
instrumented, which costs almost nothing and works on every version of Python.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from braidcheck import external_ops
from braidcheck.gates.under_test import module
from braidcheck.gates.under_test.package import NAME

KERNELS = f"{NAME}.kernels."
MARK = "__braidcheck_mark__"


def branches(function: Callable[..., Any]) -> list[str]:
    """The names of a device function's branches: its body, both sides of each ``if``, the bodies of its loops."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    return [name for name, _ in _branches(tree)]


def _branches(function: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Name and statements of each branch; no statements for an ``if`` without ``else``."""
    assert isinstance(function, ast.FunctionDef)
    yield function.name, function.body
    for node in ast.walk(function):
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            yield f"{function.name}: if {test}", node.body
            yield f"{function.name}: not if {test}", node.orelse
        elif isinstance(node, ast.For):
            yield f"{function.name}: for {ast.unparse(node.target)}", node.body
        elif isinstance(node, ast.While):
            yield f"{function.name}: while {ast.unparse(node.test)}", node.body


@contextmanager
def ran_branches() -> Iterator[set[str]]:
    """A context that collects the branches that the interpreter runs: the function's module, ": " and the name. Kernels
    that were launched before are rewritten, since they are not instrumented.
    """
    from triton.runtime.interpreter import FunctionRewriter, InterpretedFunction

    ran: set[str] = set()
    marked: list[dict[str, object]] = []
    plain, rewritten = FunctionRewriter._compile_and_exec, InterpretedFunction.rewritten_fn

    def compile_marked(self: Any, tree: ast.Module) -> Any:
        if not _is_of_an_op(self.fn.__module__):  # Triton's own
            return plain(self, tree)
        for name, body in list(_branches(tree.body[0])):
            mark = ast.parse(f"{MARK}({f'{self.fn.__module__}: {name}'!r})").body[0]
            body.insert(0, ast.copy_location(mark, body[0]) if body else mark)
        self.fn.__globals__[MARK] = ran.add
        marked.append(self.fn.__globals__)
        return plain(self, ast.fix_missing_locations(tree))

    FunctionRewriter._compile_and_exec, InterpretedFunction.rewritten_fn = compile_marked, {}
    try:
        yield ran
    finally:
        FunctionRewriter._compile_and_exec, InterpretedFunction.rewritten_fn = plain, rewritten
        for names in marked:
            names.pop(MARK, None)


def _is_of_an_op(name: str) -> bool:
    return name.startswith(KERNELS) or name.split(".")[0] in external_ops.tops()


class _Asked(dict[Any, Any]):
    """Stands in for config overrides: overrides nothing, and records the requested keys."""

    def get(self, key: Any, default: Any = None) -> Any:
        self[key] = None
        return default


@contextmanager
def asked_configs() -> Iterator[_Asked]:
    """A context that collects the keys of the launch configs that wrappers request."""
    overrides, requested = module("kernels.common.configs")._OVERRIDES, _Asked()
    token = overrides.set(requested)
    try:
        yield requested
    finally:
        overrides.reset(token)
