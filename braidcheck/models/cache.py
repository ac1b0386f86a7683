"""The KV cache: one tensor for K and one for V, every slot NaN until it is written."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from braidcheck.models.architecture import Config


class KVCache:
    """``parts`` are K and V, each [L,B,S,Hkv,D]; ``k`` and ``v`` are the layers of each, [B,S,Hkv,D].

    Slots past a row's length hold NaN, so that a stale read shows.
    """

    def __init__(self, parts: tuple[Tensor, Tensor]) -> None:
        self.parts = parts

    @cached_property  # not needed by a row that is only copied to
    def k(self) -> tuple[Tensor, ...]:
        """K of each layer."""
        return self.parts[0].unbind()

    @cached_property
    def v(self) -> tuple[Tensor, ...]:
        """V of each layer."""
        return self.parts[1].unbind()

    @classmethod
    def empty(cls, config: Config, batch: int, capacity: int, device: str, dtype: torch.dtype) -> KVCache:
        """Room for ``capacity`` tokens in each of ``batch`` rows."""
        shape = config.num_hidden_layers, batch, capacity, config.num_key_value_heads, config.head_dim
        k, v = (torch.full(shape, torch.nan, device=device, dtype=dtype) for _ in range(2))
        return cls((k, v))

    @property
    def capacity(self) -> int:
        """Slots a row."""
        return self.parts[0].shape[2]

    def row(self, index: int) -> KVCache:
        """One row as a separate cache on the same memory."""
        k, v = (part[:, index : index + 1] for part in self.parts)
        return KVCache((k, v))

    def clear(self) -> None:
        """Set every slot to NaN, as in a new cache."""
        for part in self.parts:
            part.fill_(torch.nan)

    def copy_prompt(self, source: KVCache, count: int) -> None:
        """Copy the first ``count`` slots of the first row of ``source`` to the first row of this cache."""
        for mine, other in zip(self.parts, source.parts, strict=True):
            mine[:, :1, :count].copy_(other[:, :1, :count])
