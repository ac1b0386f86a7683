"""The functions that ``braidcheck check --all`` checks, each with its op."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from braidcheck import scratch
from braidcheck.config import nearest
from braidcheck.errors import UserError

DECLARED = re.compile(r"(?P<op>\w+)\s*(\((?P<conventions>[^()]*)\))?\s*=\s*(?P<name>[^\s=]+:[^\s:=]+)")


@dataclass(frozen=True)
class Function:
    """A function's name, its op, and the conventions to check; by default they are detected."""

    op: str
    name: str
    conventions: tuple[str, ...] = ()


def chosen(declared: Iterable[str], module: str = "") -> list[Function]:
    """The declared functions, such as ``rms_norm(output=input dtype) = mylib.ops:norm``; those of one module, if it is
    named. Raises UserError for an invalid declaration, and if none is left."""
    functions = [_function(text) for text in declared]
    if not functions:
        raise UserError("check --all has nothing to check: name functions in the key functions of [tool.braidcheck]")
    modules = [one.name.rpartition(":")[0] for one in functions]
    matching = [one for one, where in zip(functions, modules, strict=True) if module in ("", where)]
    if not matching:
        meant = nearest(module, modules) or f"; they are of {', '.join(dict.fromkeys(modules))}"
        raise UserError(f"no function of {module} is in the key functions of [tool.braidcheck]{meant}")
    return matching


@contextmanager
def at_commit(name: str) -> Iterator[str]:
    """A context that turns ``GIT-REF:FILE.py:FUNCTION`` into the function's name in a temporary copy of that commit;
    any other name stays. Raises UserError for a commit or file that the repository does not have."""
    where, _, function = name.rpartition(":")
    ref, colon, file = where.partition(":")
    if not colon or not file.endswith(".py"):
        yield name
        return
    if ref.startswith("-"):
        raise UserError(f"{name!r}: {ref!r} is not a commit, branch or tag")
    top = _git(name, "rev-parse", "--show-toplevel").decode().strip()
    archive = _git(name, "-C", top, "archive", "--format=tar", ref)
    with scratch.Folder("commit") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        if not (folder / file).is_file():
            raise UserError(f"{name!r}: {ref} has no file {file}; give the path from the root of the repository")
        yield f"{folder / file}:{function}"


def _git(name: str, *words: str) -> bytes:
    if not shutil.which("git"):
        raise UserError(f"{name!r} cannot be taken from git: it is not installed; give FILE.py:FUNCTION")
    done = subprocess.run(["git", *words], capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"{name!r} cannot be taken from git: {lines[0] if lines else done.returncode}")
    return done.stdout


def _function(text: str) -> Function:
    parts = DECLARED.fullmatch(text.strip())
    if parts is None:
        raise UserError(f"functions has {text!r}, must be OP=FUNCTION, such as rms_norm=mylib.ops:rms_norm")
    words = [word.strip() for word in (parts["conventions"] or "").split(",")]
    return Function(parts["op"], parts["name"], tuple(filter(None, words)))
