"""Makes models of all architectures, whose ``model`` and ``synthetic`` modules are imported with this one. Later
imports would, in a run that tests another tree, return this package's modules again.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from braidcheck import models
from braidcheck.models.architecture import Config
from braidcheck.models.model import Model

_MODULES = {name: import_module(f"{models.__name__}.{name}.model") for name in models.find()}
_SYNTHETIC = {name: import_module(f"{models.__name__}.{name}.synthetic") for name in models.find()}


def of_tensors(config: Config, tensors: Mapping[str, Tensor], dtype: torch.dtype, **options: Any) -> Model:
    """The model of a config, and of tensors by their names in a checkpoint; ``options`` are those of ``Model``.

    Raises CheckpointError for tensors that are not the config's, UserError for an unknown attention.
    """
    return _MODULES[config.model_type].from_tensors(config, tensors, dtype, **options)


def synthetic_tensors(config: Config, seed: int, device: str) -> dict[str, Tensor]:
    """Seeded bfloat16 tensors of a config in place of trained ones, by their names in a checkpoint."""
    return _SYNTHETIC[config.model_type].synthetic_tensors(config, seed, device)
