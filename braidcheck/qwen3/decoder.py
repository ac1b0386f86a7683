"""Decode: one token a row at a time, the whole step as one CUDA graph on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels._one_token import overlapped
from braidcheck.qwen3.attention import Step
from braidcheck.qwen3.cache import KVCache

if TYPE_CHECKING:
    from braidcheck.qwen3.engine import Engine


class Decoder:
    """Greedy decode of one token a row at a time; on a GPU the whole step is one CUDA graph."""

    def __init__(self, engine: Engine, cache: KVCache, tokens: Tensor, lengths: Tensor) -> None:
        """``tokens`` int64 [B] are the newest of each row, not yet in the cache; ``lengths`` [B] the slots filled."""
        self.engine, self.cache = engine, cache
        self.tokens, self.filled = tokens.clone(), lengths.clone()
        heads = engine.config.num_key_value_heads
        self.arrivals = torch.zeros(len(tokens), heads, dtype=torch.int32, device=tokens.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def step(self) -> None:
        """Feed the newest token of each row and replace it by the next one."""
        h = self.engine.forward(self.tokens, Step.decode(self.filled, self.arrivals), self.cache)
        self.tokens.copy_(self.engine.next_tokens(h))
        self.filled += 1

    def run(self, count: int) -> Tensor:
        """The next ``count`` tokens of each row, int64 [B, count]. Raises UserError where the cache has no room."""
        if count and int(self.filled.max()) + count > self.cache.capacity:
            raise UserError(f"the cache holds {self.cache.capacity} tokens: allocate it for {count} more")
        out = torch.empty(len(self.tokens), count, dtype=torch.int64, device=self.tokens.device)
        advance = self._graphed() if count > 1 and self.engine.graphed else self.step
        for index in range(count):
            advance()
            out[:, index] = self.tokens
        return out

    def _graphed(self) -> Callable[[], None]:
        if self.graph is None:
            tokens, filled = self.tokens.clone(), self.filled.clone()
            self.graph = torch.cuda.CUDAGraph()
            with overlapped():
                self.step()  # compiles the kernels; what it writes is written again by the first replay
                with torch.cuda.graph(self.graph):
                    self.step()
            self.tokens.copy_(tokens)
            self.filled.copy_(filled)
        return self.graph.replay
