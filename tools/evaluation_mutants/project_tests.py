"""Which of the project's tests can see a mutant: those of the module's mirror and of its importers that call the
function, the quickest first."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from braidcheck.mutants.mutant import PACKAGE, Mutant
from tools.evaluation_mutants.faults import changed_function

ROOT = PACKAGE.parent
LEFT_OUT = (  # what runs kernels, models, Chromium, a GPU or the command line in processes of its own
    *("test_measure.py", "test_blame.py", "test_planted.py", "test_registry.py", "test_arch.py", "test_formats.py"),
    *("test_browser.py", "test_page.py", "test_artifact.py", "test_samples.py", "cli/test_[!m]*.py"),
    *("*_gpu.py", "test_gpu.py", "test_imports.py", "test_project.py"),
)
LEFT_OUT_FOLDERS = ("kernels", "models", "mutants", "benchmarks", "workflows", "tools", "under_test", "paired")
MAX_TESTS_S = 12.0  # CPU seconds of one trial's tests unmutated: a tenth of a trial's limit, so a timeout is a kill


class Control(TypedDict):
    """What the tests of one file do on the package as it is: seconds by test, functions called by test (by file where
    fixtures call them), and the tests that fail."""

    sha256: str
    seconds: Mapping[str, float]
    called: Mapping[str, list[str]]
    failed: list[str]


def files_for(file: str) -> list[str]:
    """The test files that mirror or import a module, given below the package: paths from the root, mirrors first."""
    stem = file.removesuffix(".py").removesuffix("/__init__")
    folder, _, last = stem.rpartition("/")
    mirrors = {f"tests/{folder}/test_{last}.py".replace("//", "/")}
    if file.endswith("/__init__.py") or folder.count("/"):
        mirrors |= {f"tests/{stem}/test_evaluate.py", f"tests/{folder}/test_evaluate.py"}
    dotted, package = stem.replace("/", r"\."), folder.replace("/", r"\.")
    within = rf"braidcheck\.{package}" if package else "braidcheck"
    imported = re.compile(rf"braidcheck\.{dotted}\b|from {within} import [^\n]*\b{last}\b")
    texts = _texts()
    importers = [name for name, text in texts.items() if name in mirrors or imported.search(text)]
    # What no test imports is tested through its neighbours.
    importers = importers or [name for name in texts if name.startswith(f"tests/{folder.split('/')[0]}/")]
    return sorted(importers, key=lambda name: (name not in mirrors, name))


def _texts() -> dict[str, str]:
    texts = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        parts = path.relative_to(ROOT / "tests").parts
        if not set(parts) & set(LEFT_OUT_FOLDERS) and not any(path.match(glob) for glob in LEFT_OUT):
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    return texts


def digest(path: Path) -> str:
    """SHA-256 of a test file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tests_for(mutant: Mutant, controls: Mapping[str, Control]) -> list[str]:
    """The ids of the tests that call what the mutant changes, the quickest first, as many as a trial has time for; of
    what is run on import, or called in another process alone, any tests of the files."""
    names = [name for name in files_for(mutant.file) if name in controls]
    function = changed_function(mutant)
    sought = f"{mutant.file}:{function}" if function else ""
    tests = sorted(one for name in names for one in _callers(name, controls[name], sought))
    tests = tests or sorted(one for name in names for one in _callers(name, controls[name], ""))
    spent = itertools.accumulate(seconds for seconds, _ in tests)
    return [test for (_, test), total in zip(tests, spent, strict=True) if total <= MAX_TESTS_S]


def _callers(name: str, control: Control, sought: str) -> Iterator[tuple[float, str]]:
    """Seconds and id of the tests of one file that call a function; all where none is sought."""
    fixtures = sought in control["called"].get(name, ())
    for test, seconds in control["seconds"].items():
        calls = not sought or fixtures or sought in control["called"].get(test, ())
        if calls and test not in control["failed"]:
            yield seconds, test
