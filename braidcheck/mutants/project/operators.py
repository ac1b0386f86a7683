"""The mutation operators for other projects' source: those of our kernels, and what others write otherwise."""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from braidcheck.mutants import operators
from braidcheck.mutants.operators import Proposal

# Calls that change no number: nothing could tell a fault in them.
HINTS = (
    "assume", "debug_barrier", "device_assert", "device_print", "max_constancy", "max_contiguous", "multiple_of",
    "static_assert", "static_print", "print",
)  # fmt: skip
# Keywords that change no number; a keyword is a launch option wherever it stands.
OPTIONS = (
    "num_warps", "num_stages", "num_ctas", "maxnreg", "cache_modifier", "eviction_policy", "loop_unroll_factor",
    "warp_specialize", "other",
)  # fmt: skip
UNARY = ("abs", "sqrt", "sigmoid", "exp", "exp2", "log", "log2", "tanh")
LOGIC = {ast.And: ast.Or, ast.Or: ast.And}
UNFILLED = {"zeros": "empty", "zeros_like": "empty_like", "new_zeros": "new_empty"}
LOOPS = ("range", "tl.range", "tl.static_range")


def is_spared(node: ast.AST) -> bool:
    """Whether nothing within ``node`` is worth a fault: text for people, hints, launch options."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in OPTIONS
    return isinstance(node, ast.Call) and last_name(node.func) in HINTS


def proposals(node: ast.AST, arguments: Sequence[str], assigned: Container[str] = ()) -> Iterator[Proposal]:
    """Name and replacement of each fault that can be made of ``node``, in a function with these arguments; the names of
    ``assigned`` have a value there.
    """
    if not (isinstance(node, ast.Compare) and len(node.ops) > 1) and not _is_text(node):
        yield from operators.proposals(node, arguments, assigned)
    by_kind: Mapping[type[ast.AST], Callable[[Any], Iterator[Proposal]]] = {
        ast.IfExp: _of_choice,
        ast.BoolOp: _of_logic,
        ast.For: _of_loop,
        ast.Call: lambda call: _of_call(call, arguments),
    }
    if type(node) in by_kind:
        yield from by_kind[type(node)](node)


def last_name(function: ast.expr) -> str:
    """``dot`` of ``tl.dot``, and of ``dot``."""
    return ast.unparse(function).rpartition(".")[2]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)


def _of_choice(node: ast.IfExp) -> Iterator[Proposal]:
    yield "condition", ast.IfExp(node.test, node.orelse, node.body)


def _of_logic(node: ast.BoolOp) -> Iterator[Proposal]:
    yield "logic", ast.BoolOp(LOGIC[type(node.op)](), node.values)


def _of_loop(node: ast.For) -> Iterator[Proposal]:
    """Leaves out the first or the last turn of a loop over a range."""
    loop = node.iter
    if not isinstance(loop, ast.Call) or ast.unparse(loop.func) not in LOOPS or not 1 <= len(loop.args) <= 3:
        return
    start, stop, step = (
        [ast.Constant(0), *loop.args, ast.Constant(1)] if len(loop.args) == 1 else [*loop.args, ast.Constant(1)][:3]
    )
    without = (
        ("first-turn", [ast.BinOp(start, ast.Add(), step), stop, step]),
        ("last-turn", [start, ast.BinOp(stop, ast.Sub(), step), step]),
    )
    for name, ends in without:
        changed = ast.Call(loop.func, ends, loop.keywords)
        yield name, ast.For(node.target, changed, node.body, node.orelse, lineno=node.lineno)


def _of_call(node: ast.Call, arguments: Sequence[str]) -> Iterator[Proposal]:
    name, is_ours = last_name(node.func), ast.unparse(node.func).startswith("tl.")
    if name == "rsqrt" and node.args:
        yield "function", ast.BinOp(ast.Constant(1.0), ast.Div(), node.args[0])
    if name in UNARY and len(node.args) == 1 and not (is_ours and name == "sqrt"):
        yield "drop-call", node.args[0]
    if name == "cdiv" and len(node.args) == 2:
        yield "floor", ast.BinOp(node.args[0], ast.FloorDiv(), node.args[1])
    if name == "atomic_add" and isinstance(node.func, ast.Attribute):
        kept = [keyword for keyword in node.keywords if keyword.arg == "mask"]
        yield "atomic", ast.Call(ast.Attribute(node.func.value, "store", ast.Load()), node.args, kept)
    if any(keyword.arg == "boundary_check" for keyword in node.keywords):
        rest = [k for k in node.keywords if k.arg not in ("boundary_check", "padding_option")]
        yield "mask", ast.Call(node.func, node.args, rest)
    if name in UNFILLED and isinstance(node.func, ast.Attribute):
        yield "unfilled", ast.Call(ast.Attribute(node.func.value, UNFILLED[name], ast.Load()), node.args, node.keywords)
    if name == "contiguous" and isinstance(node.func, ast.Attribute):
        yield "layout", node.func.value
    if name == "load" and node.args:
        yield from _of_load(node, arguments)


def _of_load(node: ast.Call, arguments: Sequence[str]) -> Iterator[Proposal]:
    """Loads from the next one of the tensors that the kernel is given."""
    pointers = [name for name in arguments if name.lower().endswith("_ptr")]
    named = [part.id for part in ast.walk(node.args[0]) if isinstance(part, ast.Name) and part.id in pointers]
    if len(named) == 1 and len(pointers) > 1:
        wrong = pointers[(pointers.index(named[0]) + 1) % len(pointers)]
        address = _Renamed(named[0], wrong).visit(ast.parse(ast.unparse(node.args[0]), mode="eval").body)
        yield "tensor", ast.Call(node.func, [address, *node.args[1:]], node.keywords)


class _Renamed(ast.NodeTransformer):
    def __init__(self, name: str, other: str) -> None:
        self.name, self.other = name, other

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """The other name for the name."""
        return ast.Name(self.other, node.ctx) if node.id == self.name else node
