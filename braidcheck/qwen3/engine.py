"""The model: prefill of one sequence and greedy decode, each step made of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels._rope import rope_table
from braidcheck.kernels.attention_decode import attention_decode
from braidcheck.kernels.attention_prefill import attention_prefill
from braidcheck.kernels.cache_write import cache_write
from braidcheck.kernels.gate_up_silu import gate_up_silu
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.lm_head import lm_head
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.qwen3.cache import KVCache
from braidcheck.qwen3.config import Qwen3Config
from braidcheck.qwen3.weights import LayerWeights, Weights

Trace = Callable[[int, str, Tensor], None]


@dataclass(frozen=True)
class Step:
    """Where the tokens of one forward pass sit: cache rows and slots of each, and what each row may see.

    ``positions``, ``rows`` int64 [T]. In a prefill all tokens belong to row 0 and start at ``start``; in a decode
    step there is one token a row and ``lengths`` [B] counts the slots filled, the new token included.
    """

    positions: Tensor
    rows: Tensor
    start: int = 0
    lengths: Tensor | None = None


class Engine:
    """A Qwen3 of Triton kernels on one device."""

    def __init__(self, config: Qwen3Config, weights: Weights) -> None:
        self.config = config
        self.weights = weights
        self.device = weights.embedding.device
        self.cos_sin = rope_table(
            config.max_position_embeddings, config.head_dim, config.rope_theta, device=str(self.device)
        )

    @classmethod
    def load(cls, directory: str | Path, device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> Engine:
        """The engine for a checkpoint directory. Raises CheckpointError in one line for what it cannot load."""
        config = Qwen3Config.from_directory(directory)
        return cls(config, Weights.from_directory(directory, config, device, dtype))

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache. Raises UserError where the model has no positions for so many tokens."""
        if capacity > self.config.max_position_embeddings:
            limit = self.config.max_position_embeddings
            raise UserError(f"{capacity} tokens are more than the model's {limit} positions: give fewer")
        return KVCache.empty(self.config, batch, capacity, str(self.device), self.weights.embedding.dtype)

    def layer(self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace=None) -> Tensor:
        """One decoder layer: h[T,H] -> [T,H], writing the new tokens' K and V into the caches [B,S,Hkv,D]."""
        eps = self.config.rms_norm_eps
        normed = rms_norm(h, w.input_norm, eps)
        q, k, v = qkv_rope(
            normed, w.qkv, self.cos_sin, step.positions, *self.config.heads,
            q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip
        if trace:
            trace("q", q)
            trace("k", k)
        cache_write(k, v, k_cache, v_cache, step.rows, step.positions)
        if step.lengths is None:
            out = attention_prefill(q, k_cache[0], v_cache[0], self.config.scale, q_start=step.start)
        else:
            out = attention_decode(q, k_cache, v_cache, step.lengths, self.config.scale)
        h = linear_residual(out.flatten(1), w.o, h)
        h = linear_residual(gate_up_silu(h, w.gate_up, w.post_norm, eps), w.down, h)
        if trace:
            trace("hidden", h)
        return h

    def forward(self, ids: Tensor, step: Step, cache: KVCache, trace: Trace | None = None) -> Tensor:
        """The residual stream [T,H] after the last layer, for ids int64 [T]."""
        h = self.weights.embedding[ids]
        for index, w in enumerate(self.weights.layers):
            traced = (lambda name, tensor, index=index: trace(index, name, tensor)) if trace else None
            h = self.layer(w, h, step, cache.k[index], cache.v[index], traced)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """float32 logits [T,V] of the residual stream h[T,H]."""
        return lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps)

    def prefill(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """float32 logits [T,V] at every position of one sequence, ids int64 [T].

        ``trace(layer, name, tensor)`` is shown each layer's "q" [T,Hq,D] and "k" [T,Hkv,D] after norm and RoPE, and
        "hidden" [T,H], the residual stream behind the layer.
        """
        cache = self.new_cache(1, len(ids))
        return self.logits(self.forward(ids.to(self.device), self.prompt(len(ids)), cache, trace))

    def generate(self, ids: Tensor, max_new_tokens: int) -> list[int]:
        """The ``max_new_tokens`` most likely next tokens after ids int64 [T], one at a time, by the KV cache."""
        if not len(ids):
            raise UserError("an empty prompt has no next token: give at least one id")
        cache = self.new_cache(1, len(ids) + max_new_tokens)
        h = self.forward(ids.to(self.device), self.prompt(len(ids)), cache)
        token = self.logits(h[-1:]).argmax(-1)
        decoder = Decoder(self, cache, token, torch.tensor([len(ids)], device=self.device))
        return [int(token), *decoder.run(max_new_tokens - 1)[0].tolist()] if max_new_tokens else []

    def prompt(self, count: int) -> Step:
        """The step of a prefill of ``count`` tokens from position 0."""
        positions = torch.arange(count, device=self.device)
        return Step(positions, torch.zeros_like(positions))


class Decoder:
    """Greedy decode of one token a row at a time; on a GPU the whole step is one CUDA graph."""

    def __init__(self, engine: Engine, cache: KVCache, tokens: Tensor, lengths: Tensor) -> None:
        """``tokens`` int64 [B] are the newest of each row, not yet in the cache; ``lengths`` [B] the slots filled."""
        self.engine, self.cache = engine, cache
        self.tokens, self.filled = tokens.clone(), lengths.clone()
        self.rows = torch.arange(len(tokens), device=tokens.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def step(self) -> None:
        """Feed the newest token of each row and replace it by the next one."""
        step = Step(self.filled, self.rows, lengths=self.filled + 1)
        h = self.engine.forward(self.tokens, step, self.cache)
        self.tokens.copy_(self.engine.logits(h).argmax(-1))
        self.filled += 1

    def run(self, count: int) -> Tensor:
        """The next ``count`` tokens of each row, int64 [B, count]. Raises UserError where the cache has no room."""
        if count and int(self.filled.max()) + count > self.cache.capacity:
            raise UserError(f"the cache holds {self.cache.capacity} tokens: allocate it for {count} more")
        out = torch.empty(len(self.tokens), count, dtype=torch.int64, device=self.tokens.device)
        advance = self._graphed() if count > 1 and self.tokens.is_cuda else self.step
        for index in range(count):
            advance()
            out[:, index] = self.tokens
        return out

    def _graphed(self) -> Callable[[], None]:
        if self.graph is None:
            tokens, filled = self.tokens.clone(), self.filled.clone()
            self.step()  # compiles the kernels; what it writes is written again by the first replay
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step()
            self.tokens.copy_(tokens)
            self.filled.copy_(filled)
        return self.graph.replay
