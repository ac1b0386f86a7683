"""Which ops a change touches, by the names of its files in git."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from braidcheck.environment import PACKAGE, git
from braidcheck.errors import UserError
from braidcheck.mutants import affected_ops

# Code that evaluates every op or makes its inputs: a change there may let a fault in any op through.
SHARED = ("op.py", "result.py", "numerics", "gates", "suite", "mutants")


def ops(ref: str, repository: Path = PACKAGE.parent) -> list[str]:
    """The ops that were touched since the merge-base with ``ref``, committed or not.

    Raises UserError if there is no merge base with ``ref``.
    """
    base = git(repository, "merge-base", "HEAD", ref)
    if base is None:
        raise UserError(f"--changed {ref}: no merge base with this commit; is this a shallow clone?")
    return touched(files(base.strip(), repository))


def files(base: str, repository: Path = PACKAGE.parent) -> list[str]:
    """The package's files that differ from the commit ``base``, committed or not, relative to the repository's root."""
    names = git(repository, "diff", "--name-only", "--no-renames", base, "--", PACKAGE.name)
    new = git(repository, "ls-files", "--others", "--exclude-standard", "--", PACKAGE.name)
    return [*(names or "").splitlines(), *(new or "").splitlines()]


def touched(files: Iterable[str]) -> list[str]:
    """The ops that ``files``, relative to the repository's root, belong to; all ops for shared files."""
    known, affected = affected_ops.every(), set()
    for file in files:
        inside = Path(file).parts[1:] if Path(file).parts[:1] == (PACKAGE.name,) else ()
        if inside[:1] == ("kernels",) and len(inside) > 1:
            # What lies in common is shared, and one that is no op any more may have been asked for by others.
            affected |= {inside[1]} if inside[1] in known else set(known)
        elif inside[:1] and inside[0] in SHARED:
            affected |= set(known)
    return sorted(affected)
