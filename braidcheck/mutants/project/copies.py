"""Copies of a project's working tree, in which faults are planted: the project itself is only read."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from braidcheck.environment import git
from braidcheck.errors import UserError

MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")  # marks of a project's root without git
LEFT_OUT = ("__pycache__", "node_modules", "build", "dist")
_stamps = itertools.count(1)


def root_of(source: Path) -> Path:
    """The root of the project that ``source`` lies in: git's, else the nearest folder with a pyproject.toml or the
    like. Raises UserError if there is neither."""
    if top := git(source.parent, "rev-parse", "--show-toplevel"):
        return Path(top.strip())
    for folder in source.parents:
        if any((folder / name).exists() for name in MARKERS):
            return folder
    raise UserError(f"--source {source} lies in no git repository and below no {' or '.join(MARKERS)}")


def copy(root: Path, folder: Path) -> None:
    """Copy the project to ``folder``: tracked files as they are on disk, and new ones that are not ignored."""
    for name in _files(root):
        source, target = root / name, folder / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=source.is_file())


def import_folders(copied: Path, sources: list[Path]) -> list[str]:
    """The import folders of the copied packages, which precede installed packages."""
    folders = [copied, copied / "src"]
    for source in sources:
        folders += [next(folder for folder in source.parents if not (folder / "__init__.py").exists())]
    return [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """A context in which the file contains ``text``."""
    original = path.read_bytes()
    try:
        _write(path, text.encode())
        yield
    finally:
        _write(path, original)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    # Compiled files are known by a source's time and size: no two contents share a time.
    os.utime(path, (stamp := next(_stamps), stamp))


def _files(root: Path) -> list[str]:
    listed = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is not None:
        return [name for name in listed.split("\0") if name]
    return [path.relative_to(root).as_posix() for path in _walk(root)]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.is_symlink():
            yield path
        elif not path.name.startswith(".") and path.name not in LEFT_OUT and not (path / "pyvenv.cfg").exists():
            yield from _walk(path)
