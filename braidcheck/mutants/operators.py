"""The mutation operators: replacements for nodes of a kernel's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

Proposal = tuple[str, ast.AST]

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult}
ARITHMETIC |= {ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
NEGATION = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
FUNCTIONS = {"max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "exp2": "exp", "exp": "exp2"}
ROUNDED = ("dot", "sum", "exp", "exp2", "sqrt")
NAMES = {"NUM_HEADS": "NUM_KV_HEADS", "NUM_KV_HEADS": "NUM_HEADS", "HALF_DIM": "HEAD_DIM", "BLOCK_N": "BLOCK_K"}
TENSORS = {"q_": "k_", "k_": "v_", "v_": "k_"}
TABLES = {"cos": "sin", "sin": "cos"}
HALVES = {"1": "2", "2": "1"}


def proposals(node: ast.AST, arguments: Sequence[str], assigned: Container[str] = ()) -> Iterator[Proposal]:
    """Name and replacement of each fault that can be made of ``node``, in a function with these arguments; the names of
    ``assigned`` have a value there.
    """
    by_kind: Mapping[type[ast.AST], Callable[[Any], Iterator[Proposal]]] = {
        ast.BinOp: _of_operation,
        ast.Compare: _of_comparison,
        ast.Constant: _of_constant,
        ast.UnaryOp: lambda unary: iter([("sign", unary.operand)]),
        ast.Call: _of_call,
        ast.If: _of_condition,
        ast.AugAssign: _of_update,
        ast.Assign: _of_assignment,
        ast.Expr: lambda statement: iter([("delete", ast.Pass())]),
    }
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from _of_name(node, arguments, assigned)
    elif type(node) in by_kind:
        yield from by_kind[type(node)](node)


def changes_nothing(operator: str, parent: ast.AST) -> bool:
    """Whether no replacement by ``operator`` in ``parent`` is a fault: both halves of a tensor have its dtype."""
    return operator == "half" and isinstance(parent, ast.Attribute) and parent.attr == "dtype"


def _of_operation(node: ast.BinOp) -> Iterator[Proposal]:
    if isinstance(node.op, ast.BitAnd):
        yield "mask-left", node.left
        yield "mask-right", node.right
        yield "mask-or", ast.BinOp(node.left, ast.BitOr(), node.right)
        return
    swapped = ARITHMETIC.get(type(node.op))
    if swapped:
        yield "drop-right", node.left
        # Subtracting from an address leaves the tensor, which is too easy to detect.
        if not any(isinstance(name, ast.Name) and name.id.endswith("_ptr") for name in ast.walk(node.left)):
            yield "arithmetic", ast.BinOp(node.left, swapped(), node.right)


def _of_comparison(node: ast.Compare) -> Iterator[Proposal]:
    (operator,) = node.ops
    for name, table in (("boundary", BOUNDARY), ("negation", NEGATION)):
        if type(operator) in table:
            yield name, ast.Compare(node.left, [table[type(operator)]()], node.comparators)


def _of_constant(node: ast.Constant) -> Iterator[Proposal]:
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield "constant", ast.Constant(node.value + 1 if abs(node.value) < 1e6 else 0)


def _of_condition(node: ast.If) -> Iterator[Proposal]:
    yield "condition", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _of_update(node: ast.AugAssign) -> Iterator[Proposal]:
    yield "delete", ast.Pass()
    if isinstance(node.op, ast.Add):
        target = ast.Name(node.target.id, ast.Store()) if isinstance(node.target, ast.Name) else node.target
        yield "overwrite", ast.Assign([target], node.value, lineno=node.lineno)


def _of_assignment(node: ast.Assign) -> Iterator[Proposal]:
    """Drops an assignment whose value contains its target, or that only renames."""
    targets = {name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)}
    used = {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    if targets & used:
        yield "delete", ast.Pass()


def _of_name(node: ast.Name, arguments: Sequence[str], assigned: Container[str]) -> Iterator[Proposal]:
    strides = [name for name in arguments if "stride" in name.lower()]
    if node.id in strides and len(strides) > 1:
        yield "stride", _name(strides[(strides.index(node.id) + 1) % len(strides)])
    other = NAMES.get(node.id)
    if other is not None and other in arguments:
        yield "size", _name(other)
    for prefix, replacement in TENSORS.items():
        wrong = replacement + node.id.removeprefix(prefix)
        if node.id.startswith(prefix) and wrong in arguments:
            yield "tensor", _name(wrong)
    # A name without a value would be no fault but an error at compilation.
    table, half = TABLES.get(node.id), HALVES.get(node.id[-1])
    if table is not None and (table in arguments or table in assigned):
        yield "tensor", _name(table)
    if half is not None and ((wrong := node.id[:-1] + half) in arguments or wrong in assigned):
        yield "half", _name(wrong)


def _of_call(node: ast.Call) -> Iterator[Proposal]:
    called = ast.unparse(node.func)
    if called.endswith(".to"):
        yield from _of_cast(node)
    if called == "float":
        yield "constant", ast.Constant(0.0)
    if not called.startswith("tl."):
        return
    name = called.removeprefix("tl.")
    if name in FUNCTIONS:
        yield "function", _call(FUNCTIONS[name], node)
    if name in ROUNDED:
        yield "narrow", _cast(_cast(node, "bfloat16"), "float32")
    if name == "sqrt":
        yield "function", node.args[0]
    if name == "where":
        yield "where-first", node.args[1]
        yield "where-second", node.args[2]
    if name == "arange":
        yield "off-by-one", ast.BinOp(node, ast.Add(), ast.Constant(1))
    if name in ("load", "store") and any(keyword.arg == "mask" for keyword in node.keywords):
        yield "mask", ast.Call(node.func, node.args, [k for k in node.keywords if k.arg not in ("mask", "other")])


def _of_cast(node: ast.Call) -> Iterator[Proposal]:
    target = ast.unparse(node.args[0])
    inner = node.func.value  # type: ignore[attr-defined]
    if target == "tl.float32":
        yield "cast", inner
        yield "narrow", _cast(_cast(inner, "bfloat16"), "float32")
    elif target == "tl.int64" and "program_id" in ast.unparse(inner):
        yield "narrow", _cast(inner, "int32")
    elif target.endswith(("dtype", "element_ty")):
        yield "cast", inner


def _call(name: str, node: ast.Call) -> ast.Call:
    return ast.Call(ast.Attribute(_name("tl"), name, ast.Load()), node.args, node.keywords)


def _cast(node: ast.expr, dtype: str) -> ast.Call:
    return ast.Call(ast.Attribute(node, "to", ast.Load()), [ast.Attribute(_name("tl"), dtype, ast.Load())], [])


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())
