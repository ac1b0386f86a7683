"""The package of another tree, imported beside this one: its modules see each other, and no module of this package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

NAME = "braidcheck"


class PackageUnderTest:
    """The kernels and the engine of another tree; evaluated by this one's references, cases, bounds and gates.

    Only ``module`` gives anything of it: whatever else imports ``braidcheck`` gets the oracles, always. This keeps an
    edited oracle out, not code that sets out to patch this process.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` holds the package. Importing it must not be able to put other oracles in place of these."""
        self.folder = folder
        self.modules: dict[str, ModuleType] = {}

    def module(self, name: str) -> ModuleType:
        """The tree's module of that name below the package. Raises whatever its import raises."""
        whole = f"{NAME}.{name}"
        if whole not in self.modules:
            with _interpreter_kept(), self._in_place():
                importlib.import_module(whole)
        return self.modules[whole]

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Within, the tree's modules stand in ``sys.modules`` where this package's stood."""
        oracles = take_out()
        sys.modules |= self.modules
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            self.modules = take_out()
            sys.modules |= oracles
            sys.path.remove(str(self.folder))


def take_out() -> dict[str, ModuleType]:
    """Take the package's modules out of ``sys.modules``: the next import reads its files again."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == NAME}


def _interpreter_kept() -> AbstractContextManager[None]:
    """Within, Triton's interpreter may be mended again; afterwards it is as this package mended it.

    It stands for the GPU: a change that mends it otherwise must not be evaluated on its own.
    """
    if importlib.util.find_spec("triton") is None:
        return nullcontext()
    from braidcheck.gates.under_test import interpreter
    from braidcheck.kernels.common.interpreter import INTERPRETED

    return interpreter.kept() if INTERPRETED else nullcontext()
