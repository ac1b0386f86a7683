"""Qwen3's decode in PyTorch for torch.compile: the baseline that the kernels must beat, written to be hard to beat.

One compiled function serves all layers, so that compiling takes seconds. It starts with the previous layer's residual
addition, so that the compiler can fuse it with the following norm as it would in a whole model. The step is one CUDA
graph. The queries of a KV head are scored together, so K and V are read once and never expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from braidcheck.kernels.common.baselines import attended
from braidcheck.models.architecture import Config
from braidcheck.models.qwen3.weights import Weights
from braidcheck.numerics.rope import rope_table

Optimise = Callable[[Callable[..., Any]], Callable[..., Any]]


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis as HF computes it: in float32, rounded, then times the weight."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of x[B,heads,D]; cos and sin [B,1,D/2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class CompiledQwen3:
    """Greedy decode with a static KV cache; rows may be of different lengths."""

    def __init__(
        self,
        config: Config,
        weights: Weights,
        caches: Sequence[tuple[Tensor, Tensor]],
        tokens: Tensor,
        lengths: Tensor,
        optimise: Optimise,
    ) -> None:
        """``caches`` are K and V [B,Hkv,S,D] a layer, ``lengths`` [B] of their slots filled; ``tokens`` int64 [B] come
        next. ``optimise`` compiles a function, for instance ``torch.compile``.
        """
        self.config, self.weights, self.caches = config, weights, caches
        device, dtype = weights.embedding.device, weights.embedding.dtype
        self.cos_sin = rope_table(config.max_position_embeddings, config.head_dim, config.rope_theta, str(device))
        self.cos_sin = self.cos_sin.to(dtype)
        self.tokens, self.filled = tokens.clone(), lengths.clone()
        self.slots = torch.arange(caches[0][0].shape[2], device=device)
        self.rows = torch.arange(len(tokens), device=device)
        self.nothing = torch.zeros(len(tokens), config.hidden_size, dtype=dtype, device=device)
        self.begin, self.layer, self.end = (optimise(make(config)) for make in (_begin, _layer, _end))
        self.graph: torch.cuda.CUDAGraph | None = None

    def logits(self) -> Tensor:
        """The logits [B,V] after ``tokens``, whose K and V are written; the state does not advance."""
        h, cos, sin, seen = self.begin(self.weights.embedding, self.tokens, self.cos_sin, self.filled, self.slots)
        branch = self.nothing
        for w, (keys, values) in zip(self.weights.layers, self.caches, strict=True):
            h, branch = self.layer(
                h, branch, w.input_norm, w.qkv, w.q_norm, w.k_norm, w.o, w.post_norm, w.gate_up, w.down, keys, values,
                cos, sin, self.rows, self.filled, seen,
            )  # fmt: skip
        return self.end(h, branch, self.weights.norm, self.weights.head)

    def step(self) -> None:
        """Feed the newest tokens and replace them by the next ones."""
        self.tokens.copy_(self.logits().argmax(-1))
        self.filled += 1

    def run(self, count: int) -> Tensor:
        """The next ``count`` tokens of each row, int64 [B, count]; on a GPU by one CUDA graph a step."""
        out = torch.empty(len(self.tokens), count, dtype=torch.int64, device=self.tokens.device)
        advance = self._graphed() if self.tokens.is_cuda else self.step
        for index in range(count):
            advance()
            out[:, index] = self.tokens
        return out

    def _graphed(self) -> Callable[[], None]:
        if self.graph is None:
            tokens, filled = self.tokens.clone(), self.filled.clone()
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.step()  # compiles; the first replay writes the same slots again
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step()
            self.tokens.copy_(tokens)
            self.filled.copy_(filled)
        return self.graph.replay


def _begin(config: Config) -> Callable[..., Any]:
    def begin(embedding: Tensor, tokens: Tensor, cos_sin: Tensor, filled: Tensor, slots: Tensor) -> tuple[Tensor, ...]:
        cos, sin = cos_sin[filled][:, None].chunk(2, dim=-1)
        return embedding[tokens], cos, sin, slots[None] <= filled[:, None]

    return begin


def _layer(config: Config) -> Callable[..., Any]:
    (heads, kv_heads, dim), eps, scale = config.heads, config.rms_norm_eps, config.scale

    def layer(
        h: Tensor,
        branch: Tensor,
        input_norm: Tensor,
        qkv_weight: Tensor,
        q_norm: Tensor,
        k_norm: Tensor,
        o: Tensor,
        post_norm: Tensor,
        gate_up: Tensor,
        down: Tensor,
        keys: Tensor,
        values: Tensor,
        cos: Tensor,
        sin: Tensor,
        rows: Tensor,
        filled: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        h = h + branch
        qkv = F.linear(normed(h, input_norm, eps), qkv_weight).unflatten(1, (heads + 2 * kv_heads, dim))
        q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=1)
        q, k = rotated(normed(q, q_norm, eps), cos, sin), rotated(normed(k, k_norm, eps), cos, sin)
        keys[rows, :, filled], values[rows, :, filled] = k, v
        h = h + F.linear(attended(q, keys, values, seen, scale).flatten(1), o)
        gate, up = F.linear(normed(h, post_norm, eps), gate_up).chunk(2, dim=-1)
        return h, F.linear(F.silu(gate) * up, down)

    return layer


def _end(config: Config) -> Callable[..., Any]:
    eps = config.rms_norm_eps

    def end(h: Tensor, branch: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        return F.linear(normed(h + branch, norm, eps), head)

    return end
