"""The positions of a forward pass's tokens, as attention needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionMetadata:
    """Cache row and slot of each token of a forward pass, and what each row may see.

    ``positions`` int64 [T]; a token's slot is its position. In a prefill all tokens belong to row 0 and start at
    ``start``; in a decode step there is one token a row. ``split_counter`` int32 [B,Hkv], zero, counts the finished
    splits of a decode step. Rows and lengths are computed on demand, once: not every backend needs them.
    """

    positions: Tensor
    start: int | None = None
    split_counter: Tensor | None = None

    @classmethod
    def prefill(cls, count: int, device: torch.device | str, start: int = 0) -> AttentionMetadata:
        """A prefill of ``count`` tokens from position ``start`` of row 0."""
        return cls(torch.arange(start, start + count, device=device), start)

    @classmethod
    def decode(cls, seq_lens: Tensor, split_counter: Tensor | None = None) -> AttentionMetadata:
        """One token for each row that has ``seq_lens`` [B] tokens in the cache."""
        return cls(seq_lens, split_counter=split_counter)

    @cached_property
    def rows(self) -> Tensor:
        """The cache row of each token, int64 [T]."""
        if self.start is not None:
            return torch.zeros_like(self.positions)
        return torch.arange(len(self.positions), device=self.positions.device)

    @cached_property
    def lengths(self) -> Tensor:
        """The filled slots of each row, including the new tokens, int64 [B]."""
        if self.start is None:
            return self.positions + 1
        return torch.tensor([self.start + len(self.positions)], device=self.positions.device)
