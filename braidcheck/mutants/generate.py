"""Generated mutants: systematic faults in the syntax trees of ``@triton.jit`` functions. Not generated, since it is
undetectable: another value for masked-out elements of a load.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from braidcheck.mutants import affected_ops
from braidcheck.mutants.mutant import PACKAGE, Mutant
from braidcheck.mutants.operators import changes_nothing, proposals
from braidcheck.mutants.syntax import assigned, children, lines, put, replaced


def generated(ops: Sequence[str] = ()) -> list[Mutant]:
    """All generated mutants, or those that affect these ops, in the order of the files."""
    files = {path.relative_to(PACKAGE).as_posix(): path for path in sorted((PACKAGE / "kernels").rglob("*.py"))}
    for ops_of_module in affected_ops.external().values():
        files |= ops_of_module
    return [mutant for file, path in files.items() for mutant in mutants_of(path, file, ops)]


def mutants_of(path: Path, file: str, ops: Sequence[str] = ()) -> Iterator[Mutant]:
    """The mutants of one file. Ids name function, operator and ordinal, so they outlast edits elsewhere."""
    source = path.read_text(encoding="utf-8")
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or not affected_ops.is_device(function):
            continue
        reached = affected_ops.ops(file, function.name)
        if ops and not set(ops) & set(reached):
            continue
        counts: Counter[str] = Counter()
        for operator, what, text in _variants(function):
            counts[operator] += 1
            yield Mutant(
                id=f"{affected_ops.part(file)}.{function.name}.{operator}.{counts[operator]}",
                kind="generated",
                part="shared" if affected_ops.is_shared(file) else affected_ops.part(file),
                description=f"{function.name}: {what}",
                file=file,
                ops=reached,
                family="device",
                text=replaced(source, lines(function), text),
            )


def _variants(function: ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    """Operator, what was done, and the function's new source."""
    arguments = [argument.arg for argument in function.args.args]
    ends = assigned(function)
    places = {child: (parent, field) for parent in ast.walk(function) for field, child in children(parent)}
    for node in list(_nodes(function)):
        parent, field = places[node]
        known = [name for name, end in ends.items() if end < getattr(node, "lineno", 0)]
        for operator, replacement in proposals(node, arguments, known):
            if changes_nothing(operator, parent):
                continue
            description = said(node, replacement)
            put(parent, field, replacement)
            text = ast.unparse(ast.fix_missing_locations(function))
            put(parent, field, node)
            yield operator, description, text


def _nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of the body that may be mutated: not the docstring, not what a masked load gives outside its mask."""
    for statement in function.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            spared = {value for node in ast.walk(statement) if _is_other(node) for value in ast.walk(node)}
            yield from (node for node in ast.walk(statement) if node not in spared)


def _is_other(node: ast.AST) -> bool:
    return isinstance(node, ast.keyword) and node.arg == "other" and "nan" not in ast.unparse(node.value)


def said(node: ast.AST, replacement: ast.AST) -> str:
    """The change of ``node`` in one line."""

    def brief(part: ast.AST) -> str:
        text = " ".join(ast.unparse(part).split())
        return text if len(text) <= 90 else f"{text[:87]}..."

    return f"{brief(node)} becomes {brief(replacement)}"
