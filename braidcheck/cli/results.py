"""The results folder of a gate run: locked while the gate writes, cleared of an earlier run's files."""

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
from braidcheck.report import formats, run_json, terminal
from braidcheck.report.formats import FORMATS
from braidcheck.result import Run

CORRECTNESS, TESTS, SPEED = "correctness", "tests", "speed"  # phases, and their folders
LOCK = ".gate-lock"


def claimed(out: Path) -> IO[str]:
    """A file in ``out`` that is locked while open. Raises UserError if another gate has locked it, or if ``out`` is a
    project's folder, whose tests folder would collide with the results."""
    if (out / FILE).exists() or (out / ".git").exists():
        raise UserError(f"{out} is a project's folder; give a folder only for results, by --out or in {TABLE}")
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError:
        message = f"--out {str(out)!a} cannot be encoded in this locale; set LC_ALL=C.UTF-8 or give another"
        raise UserError(message) from None
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another gate is writing to {out}; wait for it, or give another --out") from None
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None
    return file


def clear(out: Path) -> None:
    """Remove an earlier run's files, so that they are not mistaken for this run's; other files in ``out`` stay."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (*FORMATS, run_json.PARTIAL):
            (out / name).unlink(missing_ok=True)
        for name in (CORRECTNESS, TESTS, SPEED):
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another --out") from None


def write(run: Run, out: Path, **renders: Callable[[Run], str]) -> None:
    """Write the files of ``run`` to ``out`` by ``formats.write``; on GitHub also print annotations."""
    formats.write(run, out, **renders)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_annotations.lines(run):
            print(line)


def report(run: Run, out: Path, interrupted: bool = False) -> int:
    """Write the files of ``run`` to ``out``, print it and return its exit code; mentions an interruption."""
    if interrupted:
        run = replace(run, environment={**run.environment, "interrupted": True})
    write(run, out)
    terminal.show(run, out, interrupted)
    return 130 if interrupted else run.exit_code
