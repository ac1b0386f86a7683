"""Ops outside of this package: named by ``--ops``, by the surrounding project or by an installed package.

A file declares an op if it assigns ``OP`` at its top level. A project names its ops in the key ``ops`` of its table.
Child processes get the ops of a command through the environment. Standard library only.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from braidcheck import config
from braidcheck.errors import UserError, in_one_line
from braidcheck.op import Op

VARIABLE, GIVEN, PROJECT = (f"_BRAIDCHECK_OPS_{name}" for name in ("FOUND", "GIVEN", "PROJECT"))  # its own affair
GROUP = "braidcheck.ops"  # of entry points, whose values are modules
DECLARATION = re.compile(r"^OP\b[^=\n]*=", re.MULTILINE)
_imported: dict[str, tuple[str, str]] = {}  # by op of this process, the modules of its declaration and its wrapper


@dataclass(frozen=True)
class Declaration:
    """A module that assigns ``OP``, and the folder from which it is imported."""

    root: str
    module: str


@contextmanager
def announced(sources: Iterable[str] = (), folder: Path | None = None) -> Iterator[None]:
    """Within, this process and those that it starts find the ops ``sources`` (files, folders or modules), or else those
    that the environment or the project around ``folder``, by default the working directory, names; and those of
    installed packages. Afterwards they are unknown again.

    Raises UserError for a name without an op.
    """
    before = {name: os.environ.get(name) for name in (VARIABLE, GIVEN, PROJECT)}
    folder = folder or Path.cwd()
    sources, project = _named(list(sources), folder)
    of_project = [one for place in project for one in _declarations(*place)]
    installed = [(entry.value, folder) for entry in metadata.entry_points(group=GROUP)]
    places = [*((name, folder) for name in sources), *installed]
    declarations = (*declared(), *of_project, *(one for place in places for one in _declarations(*place)))
    for variable, rows in ((VARIABLE, declarations), (PROJECT, of_project)):
        if rows:
            os.environ[variable] = json.dumps([asdict(one) for one in dict.fromkeys(rows)])
    if sources:
        os.environ[GIVEN] = json.dumps(sources)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def declared() -> tuple[Declaration, ...]:
    """The declarations that were announced."""
    return _from_json(VARIABLE)


def has_project() -> bool:
    """Whether a project's table names ops."""
    return bool(_from_json(PROJECT))


def of_project() -> list[str]:
    """The loaded ops that the project's table names."""
    modules = {one.module for one in _from_json(PROJECT)}
    return [name for name, (declaration, _) in _loaded().items() if declaration in modules]


def options() -> list[str]:
    """The command-line options that name the same ops as ``--ops``."""
    return [word for name in json.loads(os.environ.get(GIVEN, "[]")) for word in ("--ops", name)]


def load(declarations: Iterable[Declaration]) -> Iterator[Op]:
    """Import the declarations. Raises UserError for one that cannot be imported or has no Op."""
    for one in declarations:
        if one.root not in sys.path:
            sys.path.append(one.root)  # last: it must not shadow installed packages
        try:
            op = importlib.import_module(one.module).OP
        except Exception as error:  # a user's module may raise anything
            message = f"the op in {one.module} of {one.root} cannot be imported: {in_one_line(error)}"
            raise UserError(message + _lacking(error, Path(one.root))) from None
        if not isinstance(op, Op):
            raise UserError(f"OP in {one.module} of {one.root} must be a braidcheck.op.Op, is {type(op).__name__}")
        _imported[op.name] = one.module, op.call.__module__
        yield op


def _lacking(error: Exception, project: Path) -> str:
    """What to do if the project's own package is missing, as with a src layout that is not installed."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    own = name and any((project / folder / name.split(".")[0]).exists() for folder in ("src", "python"))
    return "; install the project first: python3 -m pip install -e ." if own else ""


def module_of(op: str) -> str:
    """The module of an external op's wrapper; empty for an op of this package."""
    return _loaded().get(op, ("", ""))[1]


def tops() -> set[str]:
    """The top-level packages and modules of loaded ops."""
    return {name.split(".")[0] for names in _loaded().values() for name in names}


def code(op: str) -> list[ModuleType]:
    """The modules of an external op's wrapper, and those that they import from the same packages, such as its
    kernels."""
    modules = _loaded()[op]
    own = {name.split(".")[0] for name in modules}
    loaded, todo = dict[str, ModuleType](), [modules[1]]
    while todo:
        name = todo.pop()
        if name not in loaded and name.split(".")[0] in own and name in sys.modules:
            loaded[name] = sys.modules[name]
            todo += map(_home, vars(loaded[name]).values())
    return list(loaded.values())


def files(op: str) -> dict[str, Path]:
    """The files of an external op's code, by their path from the parent of their top-level package."""
    paths = {module.__name__: Path(module.__file__ or "") for module in code(op)}
    return {path.relative_to(_folder(name, path)).as_posix(): path for name, path in paths.items()}


def copy(folder: Path) -> None:
    """Copy the packages and modules of loaded ops to ``folder``, from which they can be imported."""
    for top in tops():
        module = importlib.import_module(top)
        if hasattr(module, "__path__"):
            shutil.copytree(
                next(iter(module.__path__)), folder / top, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        else:
            shutil.copy2(module.__file__ or "", folder)


def _loaded() -> dict[str, tuple[str, str]]:
    """What is imported of the ops that are announced now."""
    modules = {one.module for one in declared()}
    return {name: found for name, found in _imported.items() if found[0] in modules}


def _home(value: Any) -> str:
    """The module that defines an object."""
    while hasattr(value, "fn"):  # a jitted or tuned function
        value = value.fn
    return value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""


def _folder(module: str, path: Path) -> Path:
    return path.parents[module.count(".") + (path.name == "__init__.py")]


def _from_json(variable: str) -> tuple[Declaration, ...]:
    return tuple(Declaration(**row) for row in json.loads(os.environ.get(variable, "[]")))


def _named(names: list[str], folder: Path) -> tuple[list[str], list[tuple[str, Path]]]:
    """``names``, or else those of the environment, or else the project's: these with the project's folder."""
    ops = config.resolve(folder)["ops"]
    if names or ops.source != config.Source.TABLE:
        return names or list(ops.value), []
    return [], [(name, Path(ops.place).parent) for name in ops.value]


def _declarations(name: str, folder: Path) -> Iterator[Declaration]:
    path = folder / name
    is_module = not name.endswith(".py") and all(part.isidentifier() for part in name.split("."))
    root = _search(name, folder) if is_module or not path.exists() else None
    place = path if root is None else root / Path(*name.split("."))
    place = place if place.exists() else place.with_suffix(".py")
    files = [place] if place.is_file() else [file for file in sorted(place.rglob("*.py")) if _declares(file)]
    if not files:
        raise UserError(f"ops {name!r}: no Python file there assigns OP; give a file, a folder or a module")
    for file in files:
        base = root or next(one for one in file.resolve().parents if not (one / "__init__.py").exists())
        parts = file.resolve().relative_to(base.resolve()).with_suffix("").parts
        yield Declaration(str(base.resolve()), ".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def _declares(file: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in file.parts[1:])
    return not hidden and bool(DECLARATION.search(file.read_text("utf-8", errors="replace")))


def _search(name: str, folder: Path) -> Path | None:
    """The folder from which the module ``name`` would be imported, without importing it."""
    inner = Path(*name.split("."))
    for entry in (folder, folder / "src", *map(Path, sys.path)):
        if (entry / inner).is_dir() or (entry / inner).with_suffix(".py").is_file():
            return entry
    try:
        spec = importlib.util.find_spec(name)  # an editable install
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise UserError(f"ops {name!r}: no such file, folder or module")
    return _folder(name, Path(spec.origin))
