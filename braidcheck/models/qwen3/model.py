"""The forward pass: Qwen3's attention backends in the decoder that models share."""

from __future__ import annotations

from braidcheck.models.model import Model
from braidcheck.models.qwen3.attention import BACKENDS


class Qwen3Model(Model):
    """A Qwen3 on one device."""

    BACKENDS = BACKENDS
