"""The two trees that are compared: the base in a worktree, the change as it lies here, this tree's tools in both."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from braidcheck.environment import PACKAGE, git
from braidcheck.errors import UserError

REPOSITORY = PACKAGE.parent
KERNEL_FILES = ("kernels", "numerics", "op.py", "arch.py")  # what makes a kernel
ENGINE_FILES = (*KERNEL_FILES, "models", "gpu_memory.py", "settings.py")  # what answers a request: no more is timed
TOOLS = ("benchmarks", "ci/paired")  # this tree's own, laid over both trees
BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


def resolve(ref: str, repository: Path = REPOSITORY) -> str:
    """The commit that ``ref`` names. Raises UserError where it names none."""
    commit = (git(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}") or "").strip()
    if not commit:
        raise UserError(f"{ref}: no such commit in {repository}; give a commit, a branch or a tag")
    return commit


def default_base(repository: Path = REPOSITORY) -> str:
    """The merge-base with the default branch; empty where there is no git, no such branch, or nothing in common."""
    branch = next((name for name in BRANCHES if git(repository, "rev-parse", "--verify", "--quiet", name)), "")
    return ((branch and git(repository, "merge-base", "HEAD", branch)) or "").strip()


@contextmanager
def checked_out(commit: str, folder: Path, repository: Path = REPOSITORY) -> Iterator[Path]:
    """A worktree of ``commit`` in ``folder``, for as long as it is needed."""
    worktree = folder / "worktree"
    if git(repository, "worktree", "add", "--detach", "--force", str(worktree), commit) is None:
        raise UserError(f"cannot check out {commit[:12]}: is there room in {folder}?")
    try:
        yield worktree
    finally:
        git(repository, "worktree", "remove", "--force", str(worktree))


def prepare_worktree(source: Path, folder: Path) -> Path:
    """Copy the package in ``source`` to ``folder``, this tree's tools over it; the directory to import it from.

    A base may be older than the tools, and both sides must be timed by the same ones.
    """
    package = folder / PACKAGE.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / PACKAGE.name, package, ignore=ignored)
    for name in TOOLS:
        shutil.rmtree(package / name, ignore_errors=True)
        shutil.copytree(PACKAGE / name, package / name, ignore=ignored)
    return folder


def same_kernels(base: Path, change: Path) -> bool:
    """Whether two trees hold the same kernels, byte for byte."""
    return _same(base, change, KERNEL_FILES)


def same_engine(base: Path, change: Path) -> bool:
    """Whether two trees hold the same kernels and the same engine, byte for byte."""
    return _same(base, change, ENGINE_FILES)


def _same(base: Path, change: Path, names: Sequence[str]) -> bool:
    one, other = (_files(tree / PACKAGE.name, names) for tree in (base, change))
    if one.keys() != other.keys():
        return False
    return all(filecmp.cmp(one[name], other[name], shallow=False) for name in one)


def ops(tree: Path) -> set[str]:
    """The names of the ops in a tree, as its files have them."""
    return {path.stem for path in (tree / PACKAGE.name / "kernels").glob("*") if _is_op(path)}


def _is_op(path: Path) -> bool:
    return path.name != "common" and (path / "__init__.py").exists()


def _files(package: Path, names: Sequence[str]) -> dict[str, Path]:
    found = [path for name in names for path in [package / name, *(package / name).rglob("*.py")]]
    return {str(path.relative_to(package)): path for path in found if path.is_file()}
