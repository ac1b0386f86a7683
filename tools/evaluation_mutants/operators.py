"""The mutation operators of evaluating code: what may stand in the place of a node of a syntax tree.

Text that people read is left alone: docstrings, f-strings, and what is assigned or passed as text.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from braidcheck.mutants.operators import BOUNDARY, NEGATION, Proposal

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv}
COMPARISONS = NEGATION | {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In}
COMPARISONS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any", "maximum": "minimum", "minimum": "maximum"}
FUNCTIONS |= {"issuperset": "issubset", "issubset": "issuperset", "argmax": "argmin", "argmin": "argmax"}
TRANSPARENT = ("abs", "sorted", "set", "reversed", "isfinite", "strip")  # gives nearly what it is given
TEXT_ARGUMENTS = ("message", "unit", "detail", "reproduce", "help", "encoding", "errors")


def proposals(node: ast.AST) -> Iterator[Proposal]:
    """Name and replacement of each fault that can be made of ``node``."""
    make = BY_KIND.get(type(node))
    if make:
        yield from make(node)


def is_text(node: ast.AST | None) -> bool:
    """Whether an expression is a sentence or a part of one, which decides nothing."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.IfExp):
        return is_text(node.body) and is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return is_text(node.left) or is_text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "join" and is_text(node.func.value)
    return False


def _of_comparison(node: ast.Compare) -> Iterator[Proposal]:
    for number, operator in enumerate(node.ops):
        for name, table in (("boundary", BOUNDARY), ("negation", COMPARISONS)):
            other = table.get(type(operator))
            if other and not (name == "boundary" and isinstance(operator, ast.Eq)):
                ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                yield name, ast.Compare(node.left, ops, node.comparators)


def _of_bool(node: ast.BoolOp) -> Iterator[Proposal]:
    yield "and-or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for number in range(len(node.values)):
        left = [*node.values[:number], *node.values[number + 1 :]]
        yield "drop-condition", left[0] if len(left) == 1 else ast.BoolOp(node.op, left)


def _of_unary(node: ast.UnaryOp) -> Iterator[Proposal]:
    yield ("drop-not" if isinstance(node.op, ast.Not) else "sign"), node.operand


def _of_operation(node: ast.BinOp) -> Iterator[Proposal]:
    if swapped := ARITHMETIC.get(type(node.op)):
        yield "arithmetic", ast.BinOp(node.left, swapped(), node.right)


def _of_constant(node: ast.Constant) -> Iterator[Proposal]:
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield "constant", ast.Constant(node.value + 1)


def _of_if(node: ast.If) -> Iterator[Proposal]:
    yield "condition", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    yield "drop-branch", ast.If(ast.Constant(False), node.body, node.orelse)


def _of_choice(node: ast.IfExp) -> Iterator[Proposal]:
    yield "first-choice", node.body
    yield "second-choice", node.orelse


def _of_call(node: ast.Call) -> Iterator[Proposal]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in FUNCTIONS:
        if isinstance(node.func, ast.Attribute):
            function: ast.expr = ast.Attribute(node.func.value, FUNCTIONS[name], ast.Load())
        else:
            function = ast.Name(FUNCTIONS[name], ast.Load())
        yield "function", ast.Call(function, node.args, node.keywords)
    arguments = node.args[:1] or ([node.func.value] if isinstance(node.func, ast.Attribute) else [])
    if name in TRANSPARENT and arguments:
        yield "drop-call", arguments[0]


def _of_return(node: ast.Return) -> Iterator[Proposal]:
    boolean = isinstance(node.value, ast.Compare | ast.BoolOp) or (
        isinstance(node.value, ast.UnaryOp) and isinstance(node.value.op, ast.Not)
    )
    for value in (True, False) if boolean else (None,):
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is value):
            yield "return", ast.Return(ast.Constant(value))


def _of_filter(node: ast.comprehension) -> Iterator[Proposal]:
    for number in range(len(node.ifs)):
        left = [*node.ifs[:number], *node.ifs[number + 1 :]]
        yield "drop-filter", ast.comprehension(node.target, node.iter, left, node.is_async)


def _of_status(node: ast.Attribute) -> Iterator[Proposal]:
    if isinstance(node.value, ast.Name) and node.value.id == "Status":
        yield "status", ast.Attribute(node.value, "FAIL" if node.attr == "PASS" else "PASS", ast.Load())


def _of_statement(node: ast.stmt) -> Iterator[Proposal]:
    yield "delete", ast.Pass()


def _of_assignment(node: ast.Assign) -> Iterator[Proposal]:
    """Forgets an assignment whose target also stands in its value: any other leaves a name that is not known."""
    targets = {name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)}
    if targets & {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}:
        yield "delete", ast.Pass()


BY_KIND: Mapping[type[ast.AST], Callable[[Any], Iterator[Proposal]]] = {
    ast.Compare: _of_comparison,
    ast.BoolOp: _of_bool,
    ast.UnaryOp: _of_unary,
    ast.BinOp: _of_operation,
    ast.Constant: _of_constant,
    ast.If: _of_if,
    ast.IfExp: _of_choice,
    ast.Call: _of_call,
    ast.Return: _of_return,
    ast.comprehension: _of_filter,
    ast.Attribute: _of_status,
    ast.Assign: _of_assignment,
    ast.AugAssign: _of_statement,
    ast.Expr: _of_statement,
    ast.Raise: _of_statement,
    ast.Continue: _of_statement,
    ast.Break: _of_statement,
}
