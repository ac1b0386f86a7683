"""Parses ``--engine``: a server's address, or a factory in a file or a module."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from braidcheck.engines.process import Launch
from braidcheck.errors import UserError

HERE = Path(__file__).parent
SHIPPED = "braidcheck.engines."
OWN = ("__init__", "protocol", "process", "specs", "worker", "client", "gguf_file")  # not adapters
HTTP_FACTORY = f"{SHIPPED}http:connect"


def parse(spec: str, directory: Path, python: str, timeout_s: float, max_bytes: int, model_name: str = "") -> Launch:
    """How to start the engine ``spec``, with ``python`` (default: this one) and the model in ``directory``. Raises
    UserError if there is no such engine. A factory of a shipped adapter is loaded from its file, since ``python`` need
    not have braidcheck.
    """
    python = python or sys.executable
    if is_address(spec):
        return Launch(HTTP_FACTORY, (spec, model_name, str(directory)), sys.executable, False, timeout_s, max_bytes)
    where, colon, factory = spec.rpartition(":")
    if not (colon and where and factory) or "://" in spec:
        raise UserError(
            f"--engine {spec!r} is not an engine: give FILE.py:factory, package.module:factory or a server's URL"
        )
    if where.startswith(SHIPPED):
        file = HERE / f"{where.removeprefix(SHIPPED)}.py"
        if not file.is_file():
            raise UserError(f"--engine {spec}: braidcheck has no adapter {file.stem}; it has {', '.join(adapters())}")
        return Launch(f"{file}:{factory}", (str(directory),), python, True, timeout_s, max_bytes)
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise UserError(f"--engine {spec}: no file {where}")
        where = str(Path(where).resolve())
    return Launch(f"{where}:{factory}", (str(directory),), python, False, timeout_s, max_bytes)


def is_address(spec: str) -> bool:
    """Whether ``spec`` is a server's address."""
    return urlsplit(spec).scheme in ("http", "https")


def adapters() -> list[str]:
    """The shipped adapters, by name."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OWN)


def name_of(spec: str) -> str:
    """The engine's name in verdicts: the last part of its file or module (for an adapter with the factory, which names
    the dtype), or the server's host and port."""
    if is_address(spec):
        return urlsplit(without_password(spec)).netloc
    if spec.startswith(SHIPPED):
        return spec.removeprefix(SHIPPED)
    where = spec.rpartition(":")[0]
    return Path(where).stem if where.endswith(".py") else where.rpartition(".")[2]


def without_password(spec: str) -> str:
    """An address without user and password; anything else unchanged."""
    if not is_address(spec):
        return spec
    parts = urlsplit(spec)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
