"""The package of another tree, imported alongside this one: its modules see each other, but no module of this
package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

NAME = "braidcheck"


class PackageUnderTest:
    """The kernels and the engine of another tree, evaluated by this one's references, cases, bounds and gates. Only
    ``module`` returns parts of it: any other import of ``braidcheck`` gets this package's oracles. This keeps edited
    oracles out; it does not stop code that deliberately patches this process.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` contains the package. Importing it must not replace this package's oracles."""
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
        """A context in which the tree's modules replace this package's in ``sys.modules``."""
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
    """Remove the package's modules from ``sys.modules``: the next import reads its files again."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == NAME}


def _interpreter_kept() -> AbstractContextManager[None]:
    """A context in which Triton's interpreter may be patched again; afterwards it has this package's patches. The
    interpreter stands in for the GPU: a change must not be evaluated on its own patches of it.
    """
    if importlib.util.find_spec("triton") is None:
        return nullcontext()
    from braidcheck.gates.under_test import interpreter
    from braidcheck.kernels.common.interpreter import INTERPRETED

    return interpreter.kept() if INTERPRETED else nullcontext()
