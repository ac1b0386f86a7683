"""The forward pass: Qwen3's attention backends in the decoder that models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.models.model import Model
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.attention import BACKENDS
from braidcheck.models.qwen3.weights import Weights


class Qwen3Model(Model):
    """A Qwen3 on one device."""

    BACKENDS = BACKENDS


def from_tensors(config: Qwen3Config, tensors: Mapping[str, Tensor], dtype: torch.dtype, **options: Any) -> Qwen3Model:
    """The model of a checkpoint's tensors; ``options`` are those of ``Model``. Raises CheckpointError and UserError."""
    return Qwen3Model(config, Weights.from_tensors(tensors, config, dtype), **options)
