"""The oracles: files that decide what passes, listed by path. ``.github/CODEOWNERS`` names the same paths. Files that
are not listed, such as kernels, the engine and reports, cannot let anything pass.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

PACKAGE = "braidcheck"
# Glob from the repository's root, and what the files decide. "*" matches within one folder; a final "/" is all below.
ORACLES = {
    "braidcheck/kernels/*/op.py": "the op's contract, and which bound, cases and variants it has",
    "braidcheck/kernels/*/oracle.py": "the op's reference and bound",
    "braidcheck/kernels/*/cases.py": "the op's inputs, cases and negative controls",
    "braidcheck/kernels/*/baselines.py": "the op's timing baselines",
    "braidcheck/kernels/*/checks.py": "the op's contract checks",
    "braidcheck/kernels/*/variants.py": "equivalent implementations",
    "braidcheck/kernels/*/mutants.toml": "faults",
    "braidcheck/kernels/__init__.py": "which ops there are",
    "braidcheck/kernels/common/blocks.py": "equivalent implementations",
    "braidcheck/kernels/common/inputs.py": "the cases' numbers",
    "braidcheck/kernels/common/interpreter*.py": "the interpreter, which stands for a GPU",
    "braidcheck/kernels/common/negative_controls.py": "negative controls",
    "braidcheck/external_ops.py": "which ops there are",
    "braidcheck/isolation/": "how a user's function is isolated from the oracles",
    "braidcheck/checksum.py": "which files count as undamaged",
    "braidcheck/numerics/": "references and bounds, and how errors are measured",
    "braidcheck/op.py": "what a case and a contract are",
    "braidcheck/arch.py": "what a GPU class holds",
    "braidcheck/gates/": "measurements and limits",
    "braidcheck/golden/": "goldens, their text and model",
    "braidcheck/suite/": "what is asked",
    "braidcheck/schedule/": "which items are run",
    "braidcheck/plugin.py": "how verdicts are collected",
    "braidcheck/result.py": "what a verdict decides",
    "braidcheck/config.py": "what is asked",
    "braidcheck/settings.py": "what is asked",
    "braidcheck/errors.py": "what counts as a refusal",
    "braidcheck/environment.py": "which lanes can run",
    "braidcheck/cli/config.py": "what is asked",
    "braidcheck/cli/gate.py": "what is asked",
    "braidcheck/cli/merge.py": "what is a whole Run",
    "braidcheck/cli/phases.py": "what is asked",
    "braidcheck/cli/results.py": "which results are of this run",
    "braidcheck/cli/pytest_runner.py": "how the suite is run",
    "braidcheck/cli/protect.py": "protection",
    "braidcheck/ci/protection/": "protection",
    "braidcheck/ci/paired/": "how time is compared",
    "braidcheck/ci/trend/": "what counts as slower",
    "braidcheck/ci/history.py": "what counts as slower",
    "braidcheck/static/": "static baselines and exceptions",
    "braidcheck/mutants/": "faults, equivalent mutants, equivalent implementations",
    "braidcheck/benchmarks/": "how time is measured",
    "constraints.txt": "the versions that the oracles run with",
    "pyproject.toml": "the versions that the oracles run with, and what is asked",
}


def edited(base: Path, change: Path) -> dict[str, str]:
    """The oracles that differ between two trees: each file and what it decides."""
    decided = {name: decides(name) for name in sorted(_files(base) | _files(change))}
    return {name: what for name, what in decided.items() if what and _read(base / name) != _read(change / name)}


def decides(name: str) -> str:
    """What the file ``name``, relative to the repository's root, decides; empty if it is no oracle."""
    return next((what for glob, what in ORACLES.items() if _matches(name, glob)), "")


def _matches(name: str, glob: str) -> bool:
    return name.startswith(glob) if glob.endswith("/") else PurePosixPath(f"/{name}").match(f"/{glob}")


def _files(tree: Path) -> set[str]:
    package = (path for path in (tree / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    beside = (tree / glob for glob in ORACLES if "/" not in glob)
    return {path.relative_to(tree).as_posix() for path in (*package, *beside)}


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
