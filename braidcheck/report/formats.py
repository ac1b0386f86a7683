"""The files that a gate run writes, one module per format: ``FILE`` is its name, ``render(run)`` its text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from braidcheck.result import Run, write_atomically

# To add a format, write its module and add its name.
NAMES = (
    "run_json",
    "markdown",
    "junit",
    "sarif",
    "badge",
)
_MODULES = [import_module(f"braidcheck.report.{name}") for name in NAMES]
FORMATS: Mapping[str, Callable[[Run], str]] = {module.FILE: module.render for module in _MODULES}
OUT_HELP = f"folder for {', '.join(list(FORMATS)[:-1])} and {list(FORMATS)[-1]}"


def write(run: Run, out: Path, **renders: Callable[[Run], str]) -> None:
    """Write every format's file to ``out``; ``renders`` replaces a format's ``render``, by the name of its module."""
    for name, module in zip(NAMES, _MODULES, strict=True):
        write_atomically(out / module.FILE, renders.get(name, module.render)(run))


def files_line(out: Path) -> str:
    """The line that says where the files are."""
    return f"{', '.join(FORMATS)} are in {out}; for an HTML report: braidcheck report {shlex.quote(str(out))}"
