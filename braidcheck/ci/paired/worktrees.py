"""The two compared trees: the base in a worktree, the change as it is on disk, both with this tree's timing code."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from braidcheck.environment import PACKAGE, git
from braidcheck.errors import UserError

REPOSITORY = PACKAGE.parent
KERNEL_FILES = ("kernels", "numerics", "op.py", "arch.py")  # what a kernel depends on
ENGINE_FILES = (
    *KERNEL_FILES,
    "models",
    "gpu_memory.py",
    "settings.py",
)  # what answers a request
TOOLS = ("benchmarks", "ci/paired")  # this tree's timing code, copied into both trees
BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


def resolve(ref: str, repository: Path = REPOSITORY) -> str:
    """The commit that ``ref`` names. Raises UserError if there is none."""
    commit = (git(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}") or "").strip()
    if not commit:
        raise UserError(f"{ref}: no such commit in {repository}; give a commit, a branch or a tag")
    return commit


def default_base(repository: Path = REPOSITORY) -> str:
    """The merge-base with the default branch; empty without git, a default branch or a common ancestor."""
    branch = next((name for name in BRANCHES if git(repository, "rev-parse", "--verify", "--quiet", name)), "")
    return ((branch and git(repository, "merge-base", "HEAD", branch)) or "").strip()


@contextmanager
def checked_out(commit: str, folder: Path, repository: Path = REPOSITORY) -> Iterator[Path]:
    """A context with a worktree of ``commit`` in ``folder``. Raises UserError if it cannot be checked out."""
    worktree = folder / "worktree"
    if git(repository, "worktree", "add", "--detach", "--force", str(worktree), commit) is None:
        raise UserError(f"cannot check out {commit[:12]}: is there room in {folder}?")
    try:
        yield worktree
    finally:
        git(repository, "worktree", "remove", "--force", str(worktree))


def prepare_worktree(source: Path, folder: Path) -> Path:
    """Copy the package in ``source`` to ``folder``, overwrite its timing code with this tree's, and return the
    directory to import it from. A base may be older than the timing code, and both sides must be timed by the same
    code.
    """
    package = folder / PACKAGE.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / PACKAGE.name, package, ignore=ignored)
    for name in TOOLS:
        shutil.rmtree(package / name, ignore_errors=True)
        shutil.copytree(PACKAGE / name, package / name, ignore=ignored)
    return folder


def same_kernels(base: Path, change: Path) -> bool:
    """Whether two trees have the same kernels, byte for byte."""
    return _same(base, change, KERNEL_FILES)


def same_engine(base: Path, change: Path) -> bool:
    """Whether two trees have the same kernels and the same engine, byte for byte."""
    return _same(base, change, ENGINE_FILES)


def _same(base: Path, change: Path, names: Sequence[str]) -> bool:
    one, other = (_files(tree / PACKAGE.name, names) for tree in (base, change))
    if one.keys() != other.keys():
        return False
    return all(filecmp.cmp(one[name], other[name], shallow=False) for name in one)


def ops(tree: Path) -> set[str]:
    """The names of the ops in a tree, from its files."""
    return {path.stem for path in (tree / PACKAGE.name / "kernels").glob("*") if _is_op(path)}


def _is_op(path: Path) -> bool:
    return path.name != "common" and (path / "__init__.py").exists()


def _files(package: Path, names: Sequence[str]) -> dict[str, Path]:
    paths = [path for name in names for path in [package / name, *(package / name).rglob("*.py")]]
    return {str(path.relative_to(package)): path for path in paths if path.is_file()}
