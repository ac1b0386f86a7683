"""Which judges a change edits: files that decide what passes and, of an op's file, all but its kernel."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

PACKAGE = "braidcheck"
# By the start of the path, what it decides. The rest, as the engine and the reports, lets nothing pass.
JUDGES = {
    "kernels/__init__.py": "which ops there are",
    "kernels/common/inputs.py": "the cases' numbers",
    "numerics/rounding.py": "references and bounds",
    "numerics/attention.py": "references and bounds",
    "numerics/rope.py": "references and bounds",
    "op.py": "what a case and a contract are",
    "numerics/error.py": "how errors are measured",
    "gates/": "limits",
    "evidence/": "what is observed",
    "golden/": "goldens, their text and model",
    "suite/": "what is asked",
    "schedule/": "which items are run",
    "plugin.py": "how verdicts are collected",
    "result.py": "what a verdict decides",
    "settings.py": "what is asked",
    "errors.py": "what counts as a refusal",
    "environment.py": "which lanes can run",
    "cli/gate.py": "what is asked",
    "cli/merge.py": "what is a whole Run",
    "cli/pytest_runner.py": "how the suite is run",
    "cli/protect.py": "protection",
    "ci/protection/": "protection",
    "kernels/common/interpreter.py": "the interpreter, which stands for a GPU",
    "static/": "static baselines and exceptions",
    "mutants/": "faults, equivalent mutants, honest variants",
    "benchmarks/": "how time is measured",
    "ci/paired/": "how time is compared",
    "ci/trend/": "what counts as slower",
    "ci/history.py": "what counts as slower",
}
BESIDE = {"constraints.txt": "the versions that judge", "pyproject.toml": "the versions that judge"}


def edited(base: Path, change: Path) -> dict[str, str]:
    """The judges that differ between two trees: the file, and what it decides."""
    found = {}
    for name in sorted(_files(base) | _files(change)):
        texts = [_read(tree / name) for tree in (base, change)]
        if texts[0] != texts[1] and (why := _why(name, *texts, base, change)):
            found[name] = why
    return found


def _why(name: str, old: bytes, new: bytes, base: Path, change: Path) -> str:
    """What an edited file decides; empty where it judges nothing."""
    if name in BESIDE:
        return BESIDE[name]
    inside = name.removeprefix(f"{PACKAGE}/")
    if why := next((why for start, why in JUDGES.items() if inside.startswith(start)), ""):
        return why
    if not inside.startswith("kernels/"):
        return ""
    if Path(inside).name != "__init__.py" and not inside.startswith("kernels/common/"):
        module = f"{Path(name).parent.as_posix().replace('/', '.')} import {Path(name).stem}"
        holder = f"{Path(name).parent.as_posix()}/__init__.py"
        used = [part for tree in (base, change) for part in _parts(_read(tree / holder), ("OP",)).values()]
        return "the op's references, bounds or cases" if any(module in part for part in used) else ""
    before, after = _parts(old, ("OP",)), _parts(new, ("OP",))
    names = [part for part in {**before, **after} if before.get(part) != after.get(part)]
    return ", ".join(names)


def _parts(source: bytes, roots: Collection[str]) -> dict[str, str]:
    """The definitions that ``roots`` reach in a file, but for an Op's wrapper, by name; a broken file is one part."""
    try:
        definitions = dict(_definitions(ast.parse(source)))
    except (SyntaxError, ValueError):
        return {"a file that cannot be read": source.decode(errors="replace")}
    found, waiting = {}, list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name not in definitions:
            continue
        node = definitions[name]
        found[name] = node if isinstance(node, str) else ast.dump(node)
        if not isinstance(node, str):
            waiting += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return dict(sorted(found.items()))


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST | str]]:
    """Name and node of each definition at the top of a file; an import is told by its words."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for inner in ast.walk(target):
                    if isinstance(inner, ast.Name):
                        yield inner.id, _without_call(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            start = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                yield alias.asname or alias.name, f"{start}import {alias.name}"


def _without_call(node: ast.Assign | ast.AnnAssign) -> ast.AST:
    """An Op without its wrapper, which is what is judged; anything else as it is."""
    if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == "Op":
        node.value.keywords = [keyword for keyword in node.value.keywords if keyword.arg != "call"]
    return node


def _files(tree: Path) -> set[str]:
    inside = (path for path in (tree / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(tree).as_posix() for path in inside} | set(BESIDE)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
