"""The model: a forward pass made of the kernels, prefill of one sequence, generation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels._rope import rope_table
from braidcheck.kernels.gate_up_silu import gate_up_silu
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.lm_head import lm_head
from braidcheck.qwen3.attention import ATTENTIONS, Step
from braidcheck.qwen3.cache import KVCache
from braidcheck.qwen3.config import Qwen3Config
from braidcheck.qwen3.decoder import Decoder
from braidcheck.qwen3.weights import LayerWeights, Weights

Trace = Callable[[int, str, Tensor], None]


def _ignore(name: str, tensor: Tensor) -> None:
    """Nobody looks on."""


class Engine:
    """A Qwen3 of Triton kernels on one device."""

    def __init__(self, config: Qwen3Config, weights: Weights, attention: str = "separated") -> None:
        """``attention`` names one of ``ATTENTIONS``. Raises UserError for another name."""
        if attention not in ATTENTIONS:
            raise UserError(f"no attention {attention!r}: give one of {', '.join(ATTENTIONS)}")
        self.config = config
        self.weights = weights
        self.device = weights.embedding.device
        self.graphed = self.device.type == "cuda"  # whether a decode step is recorded as one CUDA graph
        self.cos_sin = rope_table(
            config.max_position_embeddings, config.head_dim, config.rope_theta, device=str(self.device)
        )
        self.attention = ATTENTIONS[attention](config, self.cos_sin)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        attention: str = "separated",
    ) -> Engine:
        """The engine for a checkpoint directory. Raises CheckpointError in one line for what it cannot load."""
        config = Qwen3Config.from_directory(directory)
        return cls(config, Weights.from_directory(directory, config, device, dtype), attention)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache. Raises UserError where the model has no positions for so many tokens."""
        if capacity > self.config.max_position_embeddings:
            limit = self.config.max_position_embeddings
            raise UserError(f"{capacity} tokens are more than the model's {limit} positions: give fewer")
        # As the projections give K and V; the residual stream, as wide as the embedding, may be wider.
        dtype = self.weights.layers[0].qkv.dtype
        return KVCache.empty(self.config, batch, capacity, str(self.device), dtype)

    def layer(self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace=_ignore) -> Tensor:
        """One decoder layer: h[T,H] -> [T,H], writing the new tokens' K and V into the caches [B,S,Hkv,D]."""
        h = self.attention(w, h, step, k_cache, v_cache, trace)
        h = linear_residual(gate_up_silu(h, w.gate_up, w.post_norm, self.config.rms_norm_eps), w.down, h)
        trace("hidden", h)
        return h

    def forward(self, ids: Tensor, step: Step, cache: KVCache, trace: Trace | None = None) -> Tensor:
        """The residual stream [T,H] after the last layer, for ids int64 [T]."""
        h = self.weights.embedding[ids]
        for index, w in enumerate(self.weights.layers):
            h = self.layer(w, h, step, cache.k[index], cache.v[index], partial(trace, index) if trace else _ignore)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """float32 logits [T,V] of the residual stream h[T,H]."""
        return lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps)

    def next_tokens(self, h: Tensor) -> Tensor:
        """The most likely token int64 [T] after each row of the residual stream h[T,H]; no logits are stored."""
        return lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps, argmax=True)

    def prefill(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """float32 logits [T,V] at every position of one sequence, ids int64 [T].

        ``trace(layer, name, tensor)`` is shown each layer's "q" [T,Hq,D] and "k" [T,Hkv,D] after norm and RoPE, and
        "hidden" [T,H], the residual stream behind the layer.
        """
        cache = self.new_cache(1, len(ids))
        return self.logits(self.forward(ids.to(self.device), Step.prompt(len(ids), self.device), cache, trace))

    def generate(self, ids: Tensor, max_new_tokens: int) -> list[int]:
        """The ``max_new_tokens`` most likely next tokens after ids int64 [T], one at a time, by the KV cache."""
        if not len(ids):
            raise UserError("an empty prompt has no next token: give at least one id")
        cache = self.new_cache(1, len(ids) + max_new_tokens)
        h = self.forward(ids.to(self.device), Step.prompt(len(ids), self.device), cache)
        token = self.next_tokens(h[-1:])
        decoder = Decoder(self, cache, token, torch.tensor([len(ids)], device=self.device))
        return [int(token), *decoder.run(max_new_tokens - 1)[0].tolist()] if max_new_tokens else []
