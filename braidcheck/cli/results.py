"""The folder of a gate's results: locked while a gate writes to it, cleared of an earlier run's files."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from braidcheck.config import FILE, TABLE
from braidcheck.errors import UserError
from braidcheck.report import annotations as github_annotations
from braidcheck.report import formats, terminal
from braidcheck.report.formats import FORMATS
from braidcheck.result import Run

CORRECTNESS, TESTS, SPEED = "correctness", "tests", "speed"  # phases, and their folders
LOCK = ".gate-lock"


def claimed(out: Path) -> IO[str]:
    """A file in ``out`` that is locked as long as it is open. Raises UserError where another gate has locked it, or
    where it is the folder of a project, whose tests lie where results would."""
    if (out / FILE).exists() or (out / ".git").exists():
        raise UserError(f"{out} is the folder of a project; give a folder for results alone, as --out or in {TABLE}")
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError:
        message = f"--out {str(out)!a} is no text in this locale; set LC_ALL=C.UTF-8 or give another"
        raise UserError(message) from None
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another gate writes to {out}; wait for it, or give another --out") from None
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None
    return file


def clear(out: Path) -> None:
    """Remove what an earlier run wrote, so that it is not taken for this run's; other files in ``out`` stay."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FORMATS:
            (out / name).unlink(missing_ok=True)
        for name in (CORRECTNESS, TESTS, SPEED):
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None


def write(run: Run, out: Path, **renders: Callable[[Run], str]) -> None:
    """Write the files of ``run`` to ``out``, as ``formats.write`` does; on GitHub, print its annotations."""
    formats.write(run, out, **renders)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_annotations.lines(run):
            print(line)


def report(run: Run, out: Path, interrupted: bool = False) -> int:
    """Write the files of ``run`` to ``out`` and print it; its exit code. One that was interrupted says so."""
    if interrupted:
        run = replace(run, environment={**run.environment, "interrupted": True})
    write(run, out)
    terminal.show(run, out, interrupted)
    return 130 if interrupted else run.exit_code
