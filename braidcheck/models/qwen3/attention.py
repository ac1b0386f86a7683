"""Attention backends: attention with its norm, cache and residual, fused into ops in different ways. All take the
residual stream h[T,H] and return it with attention added; they differ in the ops that they call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.ops import OpTable
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.weights import LayerWeights


class Trace(Protocol):
    """Receives tensors by name as a layer computes them."""

    def __call__(self, name: str, tensor: Tensor) -> None: ...


@dataclass(frozen=True)
class Qwen3AttentionSeparated:
    """RMSNorm in float32, then projection + head norm + RoPE in one op."""

    config: Qwen3Config
    cos_sin: Tensor
    ops: OpTable

    def __call__(
        self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """h[T,H] -> [T,H]; caches [B,S,Hkv,D] are written in place."""
        q, k, v = self.project(w, h, metadata)
        trace("q", q)
        trace("k", k)
        self.ops.cache_write(k, v, k_cache, v_cache, metadata.rows, metadata.positions)
        return self.ops.linear_residual(self.attend(q, k_cache, v_cache, metadata).flatten(1), w.o, h)

    def project(self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata) -> tuple[Tensor, Tensor, Tensor]:
        """q[T,Hq,D] and k[T,Hkv,D], normalised and rotated, and v[T,Hkv,D]."""
        eps = self.config.rms_norm_eps
        return self.ops.qkv_rope(
            self.ops.rms_norm(h, w.input_norm, eps), w.qkv, self.cos_sin, metadata.positions, *self.config.heads,
            q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip

    def attend(self, q: Tensor, k_cache: Tensor, v_cache: Tensor, metadata: AttentionMetadata) -> Tensor:
        """Attention of q[T,Hq,D] over the cache."""
        if metadata.start is None:
            return self.ops.attention_decode(q, k_cache, v_cache, metadata.lengths, self.config.scale)
        return self.ops.attention_prefill(q, k_cache[0], v_cache[0], self.config.scale, q_start=metadata.start)


@dataclass(frozen=True)
class Qwen3AttentionProduction(Qwen3AttentionSeparated):
    """Minimal traffic and launches: prefill as ``Separated``, with the normalised rows rounded at once; a decode step
    takes three ops."""

    def __call__(
        self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """As ``Separated``; a decode step's Q and K stay inside its ops and are not traced."""
        if metadata.start is not None:
            return super().__call__(w, h, metadata, k_cache, v_cache, trace)
        eps = self.config.rms_norm_eps
        q, k, v = self.ops.rms_norm_qkv(h, w.input_norm, w.qkv, eps, *self.config.heads, out_dtype=torch.float32)
        out = self.ops.decode_attention(
            q, k, v, w.q_norm, w.k_norm, self.cos_sin, metadata.positions, k_cache, v_cache, eps, self.config.scale,
            split_counter=metadata.split_counter,
        )  # fmt: skip
        return self.ops.linear_residual(out.flatten(1), w.o, h)

    def project(self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Separated``, to the same bits."""
        eps = self.config.rms_norm_eps
        return self.ops.qkv_rope(
            self.ops.rms_norm(h, w.input_norm, eps, out_dtype=w.qkv.dtype), w.qkv, self.cos_sin, metadata.positions,
            *self.config.heads, q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip


@dataclass(frozen=True)
class Qwen3AttentionFused(Qwen3AttentionSeparated):
    """RMSNorm fused into the projection, then head norm + RoPE."""

    def project(self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Separated``, with K and Q rounded once more between projection and norm."""
        eps = self.config.rms_norm_eps
        q, k, v = self.ops.rms_norm_qkv(h, w.input_norm, w.qkv, eps, *self.config.heads)
        return *self.ops.qk_norm_rope(q, k, w.q_norm, w.k_norm, self.cos_sin, metadata.positions, eps), v


@dataclass(frozen=True)
class Qwen3AttentionFullyFused:
    """RMSNorm to output projection in one op; K is cached after norm and RoPE ("post_rope") or before ("pre_rope")."""

    config: Qwen3Config
    cos_sin: Tensor
    ops: OpTable
    cache: str = "post_rope"

    def __call__(
        self, w: LayerWeights, h: Tensor, metadata: AttentionMetadata, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """h[T,H] -> [T,H]; caches [B,S,Hkv,D] are written in place. Q stays inside the op and is not traced."""
        out = self.ops.fused_attention(
            h, w.input_norm, w.qkv, w.q_norm, w.k_norm, w.o, self.cos_sin, metadata.positions, k_cache, v_cache,
            metadata.lengths, *self.config.heads, self.config.rms_norm_eps, self.config.scale, cache=self.cache,
        )  # fmt: skip
        return h + out


BACKENDS: Mapping[str, Callable[[Qwen3Config, Tensor, OpTable], Callable[..., Tensor]]] = {
    "production": Qwen3AttentionProduction,
    "separated": Qwen3AttentionSeparated,
    "fused": Qwen3AttentionFused,
    "fully_fused": Qwen3AttentionFullyFused,
    "fully_fused_raw": partial(Qwen3AttentionFullyFused, cache="pre_rope"),
}
