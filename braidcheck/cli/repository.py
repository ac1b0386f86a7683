"""What ``braidcheck init`` detects in a repository: folders, tools, kernels and ops. It runs only git."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from braidcheck import config
from braidcheck.errors import UserError
from braidcheck.external_ops import DECLARATION

KERNEL = re.compile(r"^@triton\.jit\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)", re.MULTILINE)
MAX_BYTES = 1_000_000  # of a source file; larger ones are generated
VENV = "pyvenv.cfg"  # the file in the root of a virtual environment
INSTALLABLE = re.compile(r"^\[(project|build-system)\]", re.MULTILINE)


@dataclass(frozen=True)
class Repository:
    """``root`` is git's folder, ``project`` that of the nearest pyproject.toml in it, by default ``root``. ``kernels``
    are the Python files with kernels, by their path from the project, each with the functions that launch them, or the
    kernels themselves if none does; ``ops`` are the files that declare ops."""

    root: Path
    project: Path
    kernels: dict[str, list[str]]
    ops: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The project's folder relative to the root."""
        return self.project.relative_to(self.root).as_posix()

    @property
    def install(self) -> list[str]:
        """The pip arguments that install the project."""
        pyproject = self.project / config.FILE
        if (self.project / "setup.py").exists() or (pyproject.exists() and INSTALLABLE.search(read(pyproject))):
            return ["-e", "."]
        return ["-r", "requirements.txt"] if (self.project / "requirements.txt").exists() else []

    @property
    def noxfile(self) -> Path | None:
        """The project's noxfile, if there is one."""
        path = self.project / "noxfile.py"
        return path if path.exists() else None

    @property
    def branch(self) -> str:
        """The default branch: the remote's if known, else the current one, else main."""
        for ref in ("refs/remotes/origin/HEAD", "HEAD"):
            words = ["git", "symbolic-ref", "--quiet", "--short", ref]
            named = subprocess.run(words, cwd=self.root, capture_output=True, text=True, check=False).stdout.strip()
            if named:
                return named.removeprefix("origin/")
        return "main"

    def ignores(self, name: str) -> bool:
        """Whether git ignores ``name`` in the project."""
        return not subprocess.run(["git", "check-ignore", "-q", name], cwd=self.project, check=False).returncode

    def described(self) -> str:
        """What was detected, as one line."""
        layout = "src layout" if (self.project / "src").is_dir() else "flat layout"
        tests = [name for name in ("pytest.ini", "conftest.py", "tests") if (self.project / name).exists()]
        kernels = "no Triton kernels" if not self.kernels else "Triton kernels in " + _some(list(self.kernels))
        parts = [layout, kernels, f"tests ({tests[0]})" if tests else "no tests"]
        parts += [self.noxfile.relative_to(self.root).as_posix() if self.noxfile else "no noxfile.py"]
        return f"{self.project}: {', '.join(parts)}"


def find(folder: Path) -> Repository:
    """The repository around ``folder``. Raises UserError if there is none."""
    root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    folder = folder.resolve()
    file = config.file_of(folder)
    project = file.parent if file and file.parent.is_relative_to(root) else root
    if (project / "braidcheck" / "op.py").exists():
        raise UserError(f"{project} is braidcheck's own repository; run this in yours, or see CONTRIBUTING.md")
    kernels, ops = dict[str, list[str]](), []
    for name, text in _sources(project):
        if names := KERNEL.findall(text):
            kernels[name] = _launchers(text, names) or names
        if DECLARATION.search(text) and "braidcheck" in text:
            ops.append(name)
    return Repository(root, project, kernels, tuple(ops))


def _launchers(text: str, kernels: list[str]) -> list[str]:
    """The public functions of a source file that launch one of its kernels by ``kernel[grid](...)``."""
    try:
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return []
    return [each.name for each in functions if each.name[0] != "_" and _launches(each, kernels)]


def _launches(function: ast.FunctionDef, kernels: list[str]) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    launched = (call.value for call in calls if isinstance(call, ast.Subscript))
    return any(isinstance(kernel, ast.Name) and kernel.id in kernels for kernel in launched)


def read(path: Path) -> str:
    """The text of a file with its own line endings. Raises UserError if it is not UTF-8 or cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _sources(project: Path) -> Iterator[tuple[str, str]]:
    """Path and text of the Python files that git tracks or would add, without those of virtual environments."""
    listed = _git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py", f"*{VENV}")
    names = sorted(filter(None, listed.split("\0")))
    # git ignores an environment by itself only if Python 3.13 or virtualenv made it.
    environments = tuple(name.removesuffix(VENV) for name in names if name.endswith(f"/{VENV}"))
    for name in names:
        path = project / name
        is_source = name.endswith(".py") and not name.startswith(environments)
        if is_source and path.is_file() and path.stat().st_size <= MAX_BYTES:
            yield name, path.read_text("utf-8", errors="replace")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"git cannot be run in {folder}: {error.strerror}") from None
    if done.returncode:
        raise UserError(f"{folder} is not in a git repository; run: git init")
    return done.stdout
