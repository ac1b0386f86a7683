"""What ops, engine and loader promise beyond their cases: probes that each give a complaint, or nothing.

They import the package anew at every call, so that a run of mutants may put another one in its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Probe = Callable[[], str | None]


def module(name: str) -> Any:
    """A module of the package as it now is in ``sys.modules``."""
    return importlib.import_module(f"braidcheck.{name}")


def asked(probe: Probe) -> str | None:
    """The complaint of a probe; an exception is one too."""
    try:
        return probe()
    except Exception as error:  # what cannot even be asked does not keep its promise
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
