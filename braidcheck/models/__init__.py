"""Model architectures, one folder each; adding a folder here adds the architecture to every gate."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from braidcheck.errors import CheckpointError
from braidcheck.models.architecture import Architecture, read_config


@cache
def find() -> dict[str, Architecture]:
    """All architectures by name, found by listing this folder: each folder defines ``ARCHITECTURE``, of its name.

    Standard library only. Raises TypeError for a folder without it.
    """
    modules = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            continue
        folder = importlib.import_module(f"{__name__}.{module.name}")
        architecture = getattr(folder, "ARCHITECTURE", None)
        if not isinstance(architecture, Architecture) or architecture.name != module.name:
            raise TypeError(f"{folder.__name__} must define ARCHITECTURE, an Architecture named {module.name!r}")
        modules[module.name] = architecture
    return modules


def of_checkpoint(directory: str | Path) -> Architecture:
    """The architecture of a checkpoint directory. Raises CheckpointError if its config.json names no known one."""
    config = read_config(directory)
    kind = config.get("model_type") or config.get("architectures") or "nothing"
    if not isinstance(kind, str) or kind not in find():
        raise CheckpointError(f"config.json says {kind}: braidcheck's engine runs model_type {', '.join(find())} only")
    return find()[kind]
