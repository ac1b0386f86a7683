"""A mutant: a deliberate fault in one source file, and the copy of the package that contains it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import braidcheck
from braidcheck import external_ops

PACKAGE = Path(braidcheck.__file__).parent
FAMILIES = {
    "device": "in a kernel, at every size and value",
    "host": "in a wrapper, at every size and value",
    "engine": "in the model or the engine around the ops",
    "size": "at some sizes only",
    "value": "at some numbers only",
    "state": "from the second call on, or in what a call leaves behind",
    "race": "an order that nothing enforces",
    "performance": "the same numbers, later",
}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    ``part`` is the op or the part of the model it belongs to, the row of the report; ``description`` one line on what
    was done; ``bug`` the public bug it comes from, where there is one; ``file`` the file below the package, or ``../``
    and its path from the folder of an external op's outermost package; ``text`` that file with the fault in it; ``ops``
    the ops whose kernels can see it. ``stale`` says why the patch no longer applies, and then there is no text.
    ``lane`` names the only lane that can show the fault, where there is one; ``expected_detector`` the gate and subject
    known to catch it, which are asked first. ``family`` is one of FAMILIES.
    """

    id: str
    kind: str
    part: str
    description: str
    file: str
    ops: tuple[str, ...]
    text: str = ""
    bug: str = ""
    stale: str = ""
    lane: str = ""
    expected_detector: tuple[str, str] = "", ""
    family: str = ""


CONTROL = "unmutated"


def control(ops: tuple[str, ...]) -> Mutant:
    """No fault: every gate must pass it, or a kill means nothing."""
    file = "__init__.py"
    return Mutant(CONTROL, "control", CONTROL, "the unmutated package", file, ops, (PACKAGE / file).read_text("utf-8"))


def snapshot(folder: Path) -> Path:
    """Copy the package, and external ops, to ``folder``, from which trials import them: later edits do not affect
    trials."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    external_ops.copy(folder)
    return folder


def overlay(source: Path, mutant: Mutant, folder: Path) -> Path:
    """``source`` with the mutant's file replaced, in ``folder``, as cheap hard links."""
    shutil.copytree(source, folder, copy_function=os.link, dirs_exist_ok=True)
    patched = folder / PACKAGE.name / mutant.file
    patched.unlink()
    patched.write_text(mutant.text, encoding="utf-8")
    os.utime(patched, (0, 0))  # no compiled file of the original can be taken for its own
    return folder
