"""Which modules evaluate, and the mutants of them: generated from their syntax trees, and named in ``named/``."""

from __future__ import annotations

import ast
import difflib
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from braidcheck.mutants.mutant import PACKAGE, Mutant
from braidcheck.mutants.patch import Patch, StalePatch, definitions
from braidcheck.mutants.syntax import children, lines, put, replaced
from tools.evaluation_mutants.operators import TEXT_ARGUMENTS, is_text, proposals

HERE = Path(__file__).parent
NAMED, EQUIVALENT = HERE / "named", HERE / "equivalent.toml"
# Globs below the package. What measures needs kernels or a GPU: mutants of kernels are its test.
EVALUATING = (
    "result.py",
    "format_1.py",
    "numerics/error.py",
    "gates/*.py",
    "gates/*/__init__.py",
    "gates/coherence/behaviour.py",
    "gates/coherence/distance.py",
    "gates/coherence/finding.py",
    "gates/coherence/spread.py",
    "golden/provenance.py",
    "golden/store.py",
    "golden/record.py",
    "golden/resolve.py",
    "golden/readings.py",
    "ci/history.py",
    "ci/trend/*.py",
    "ci/protection/*.py",
    "cli/merge.py",
    "report/annotations.py",
    "report/compare.py",
    "report/failures.py",
    "report/junit.py",
    "report/rows.py",
    "schedule/selection.py",
    "schedule/shards.py",
    "static/baseline.py",
)
NOT_EVALUATING = ("under_test",)
MEASURING = ("run", "subjects", "_trial_checks", "GATE", "progress")  # of a gate: they run what is evaluated


def files() -> list[str]:
    """The evaluating modules, by path below the package."""
    paths = {path for glob in EVALUATING for path in PACKAGE.glob(glob) if path.parent.name not in NOT_EVALUATING}
    return [path.relative_to(PACKAGE).as_posix() for path in sorted(paths)]


def named() -> list[Mutant]:
    """The named mutants; one whose patch does not apply exactly once says so in ``stale``."""
    files = sorted(NAMED.glob("*.toml"))
    return [_named(row) for file in files for row in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]]


def _named(row: dict[str, str]) -> Mutant:
    text = stale = ""
    try:
        text = Patch(row["file"], row["function"], row["old"], row["new"]).applied(PACKAGE)
    except StalePatch as error:
        stale = str(error)
    return Mutant(row["id"], "named", part(row["file"]), row["description"], row["file"], (), text, stale=stale)


def part(file: str) -> str:
    """The module as the tables call it: ``gates/layers/__init__.py`` is gates.layers."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def generated(only: Sequence[str] = ()) -> list[Mutant]:
    """All generated mutants of the evaluating modules, or of ``only`` these parts."""
    return [mutant for file in files() if not only or part(file) in only for mutant in mutants_of(file)]


def mutants_of(file: str, package: Path = PACKAGE) -> Iterator[Mutant]:
    """The generated mutants of one file; ids name module, function, operator and ordinal."""
    source = (package / file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    counts: Counter[str] = Counter()
    for statement in tree.body:
        places = {child: (parent, field) for parent in ast.walk(statement) for field, child in children(parent)}
        for scope, node in _nodes(statement):
            for operator, replacement in proposals(node):
                if node not in places:
                    continue
                parent, field = places[node]
                message = f"{_brief(node)} becomes {_brief(replacement)}"
                put(parent, field, replacement)
                text = ast.unparse(ast.fix_missing_locations(statement))
                put(parent, field, node)
                stem = f"{part(file)}.{scope}.{operator}"
                counts[stem] += 1
                description = f"{scope}: {message}"
                mutated = replaced(source, lines(statement), text)
                yield Mutant(f"{stem}.{counts[stem]}", "generated", part(file), description, file, (), mutated)


def _nodes(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The nodes that may be mutated, each with the name of the function or constant it stands in."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Expr | ast.If):
        return
    names = {node: name for name, node in [("", statement), *definitions(ast.Module([statement], []))]}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        names[statement] = ast.unparse(target)
    stack: list[tuple[str, ast.AST]] = [(names[statement], statement)]
    while stack:
        scope, node = stack.pop()
        scope = names.get(node, scope)
        if scope.split(".")[-1] in MEASURING or _is_said(node):
            continue
        yield scope or "module", node
        decorators = getattr(node, "decorator_list", ())
        stack += [(scope, child) for _, child in reversed(list(children(node))) if child not in decorators]


def _is_said(node: ast.AST) -> bool:
    """Whether nothing below this node decides: text, annotations, decorators, docstrings."""
    if isinstance(node, ast.JoinedStr | ast.arg):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        return is_text(node.value)
    if isinstance(node, ast.keyword):
        return node.arg in TEXT_ARGUMENTS or is_text(node.value)
    return isinstance(node, ast.ClassDef) and any("TypedDict" in ast.unparse(base) for base in node.bases)


def _brief(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."


def diff(mutant: Mutant, package: Path = PACKAGE) -> list[str]:
    """The lines that a mutant changes; layout that unparsing changed is left out."""
    before = ast.unparse(ast.parse((package / mutant.file).read_text(encoding="utf-8"))).splitlines()
    after = ast.unparse(ast.parse(mutant.text)).splitlines()
    changed = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in changed if line[:3] not in ("---", "+++") and line[:2] != "@@"]


def changed_function(mutant: Mutant, package: Path = PACKAGE) -> str:
    """The innermost function that a mutant changes; empty where it changes what is run on import."""
    before = (package / mutant.file).read_text(encoding="utf-8")
    old, new = (dict(definitions(ast.parse(text))) for text in (before, mutant.text))
    changed = [name for name, node in old.items() if name not in new or ast.dump(node) != ast.dump(new[name])]
    innermost = max(changed, key=lambda name: name.count("."), default="")
    return innermost if isinstance(old.get(innermost), ast.FunctionDef) else ""
