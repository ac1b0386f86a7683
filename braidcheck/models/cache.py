"""The KV cache: one pair of tensors a layer, every slot NaN until it is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.models.architecture import Config


@dataclass(frozen=True)
class KVCache:
    """k and v of each layer, [B, S, Hkv, D]; slots past a row's length hold NaN, so that a stale read shows."""

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]

    @classmethod
    def empty(cls, config: Config, batch: int, capacity: int, device: str, dtype: torch.dtype) -> KVCache:
        """Room for ``capacity`` tokens in each of ``batch`` rows."""
        shape = batch, capacity, config.num_key_value_heads, config.head_dim

        def layers() -> tuple[Tensor, ...]:
            return tuple(
                torch.full(shape, torch.nan, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)
            )

        return cls(layers(), layers())

    @property
    def capacity(self) -> int:
        """Slots a row."""
        return self.k[0].shape[1]

    def row(self, index: int) -> KVCache:
        """One row as a cache of its own, in the same memory."""
        return KVCache(*(tuple(layer[index : index + 1] for layer in part) for part in (self.k, self.v)))
