"""Attention with its norm, cache and residual, in the specification's three fusions and as a plain reference.

All take the residual stream h[T,H] and give it back with attention added; they differ in which ops they call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from braidcheck.kernels.attention_decode import attention_decode
from braidcheck.kernels.attention_decode.oracle import reference as attention_decode_reference
from braidcheck.kernels.attention_prefill import attention_prefill
from braidcheck.kernels.attention_prefill.oracle import reference as attention_prefill_reference
from braidcheck.kernels.cache_write import cache_write
from braidcheck.kernels.decode_attention import decode_attention
from braidcheck.kernels.fused_attention import fused_attention
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.qk_norm_rope import qk_norm_rope
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.qkv_rope.oracle import reference as qkv_rope_reference
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.kernels.rms_norm.oracle import reference as rms_norm_reference
from braidcheck.kernels.rms_norm_qkv import rms_norm_qkv
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.weights import LayerWeights


@dataclass(frozen=True)
class Step:
    """Where the tokens of one forward pass sit: cache rows and slots of each, and what each row may see.

    ``positions`` int64 [T]; a token's slot is its position. In a prefill all tokens belong to row 0 and start at
    ``start``; in a decode step there is one token a row. ``split_counter`` int32 [B,Hkv], zero, is where a decode
    step's splits count themselves. Rows and lengths are made when they are asked for: not every flow does.
    """

    positions: Tensor
    start: int | None = None
    split_counter: Tensor | None = None

    @classmethod
    def prompt(cls, count: int, device: torch.device | str, start: int = 0) -> Step:
        """A prefill of ``count`` tokens from position ``start`` of row 0."""
        return cls(torch.arange(start, start + count, device=device), start)

    @classmethod
    def decode(cls, filled: Tensor, split_counter: Tensor | None = None) -> Step:
        """One token for each row of which ``filled`` [B] slots are filled."""
        return cls(filled, split_counter=split_counter)

    @property
    def rows(self) -> Tensor:
        """The cache row of each token, int64 [T]."""
        if self.start is not None:
            return torch.zeros_like(self.positions)
        return torch.arange(len(self.positions), device=self.positions.device)

    @property
    def lengths(self) -> Tensor:
        """The slots filled in each row, the new tokens included, int64 [B]."""
        if self.start is None:
            return self.positions + 1
        return torch.tensor([self.start + len(self.positions)], device=self.positions.device)


class Trace(Protocol):
    """Is shown tensors by name as a layer computes them."""

    def __call__(self, name: str, tensor: Tensor) -> None: ...


@dataclass(frozen=True)
class Qwen3AttentionSeparated:
    """RMSNorm by itself in float32, then projection + head norm + RoPE in one op: the specification's new flow."""

    config: Qwen3Config
    cos_sin: Tensor

    def __call__(
        self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """h[T,H] -> [T,H]; caches [B,S,Hkv,D] are written in place."""
        q, k, v = self.project(w, h, step)
        trace("q", q)
        trace("k", k)
        cache_write(k, v, k_cache, v_cache, step.rows, step.positions)
        return linear_residual(self.attend(q, k_cache, v_cache, step).flatten(1), w.o, h)

    def project(self, w: LayerWeights, h: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """q[T,Hq,D] and k[T,Hkv,D], normalised and rotated, and v[T,Hkv,D]."""
        eps = self.config.rms_norm_eps
        return qkv_rope(
            rms_norm(h, w.input_norm, eps), w.qkv, self.cos_sin, step.positions, *self.config.heads,
            q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip

    def attend(self, q: Tensor, k_cache: Tensor, v_cache: Tensor, step: Step) -> Tensor:
        """Attention of q[T,Hq,D] over the cache."""
        if step.start is None:
            return attention_decode(q, k_cache, v_cache, step.lengths, self.config.scale)
        return attention_prefill(q, k_cache[0], v_cache[0], self.config.scale, q_start=step.start)


@dataclass(frozen=True)
class Qwen3AttentionProduction(Qwen3AttentionSeparated):
    """The fewest bytes and launches: prefill as in the separated flow, of normalised rows that are rounded at once; a
    decode step in three."""

    def __call__(
        self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """As in the separated flow; a decode step's Q and K stay inside its ops and are not traced."""
        if step.start is not None:
            return super().__call__(w, h, step, k_cache, v_cache, trace)
        eps = self.config.rms_norm_eps
        q, k, v = rms_norm_qkv(h, w.input_norm, w.qkv, eps, *self.config.heads, out_dtype=torch.float32)
        out = decode_attention(
            q, k, v, w.q_norm, w.k_norm, self.cos_sin, step.positions, k_cache, v_cache, eps, self.config.scale,
            split_counter=step.split_counter,
        )  # fmt: skip
        return linear_residual(out.flatten(1), w.o, h)

    def project(self, w: LayerWeights, h: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """As in the separated flow, to the same bits."""
        eps = self.config.rms_norm_eps
        return qkv_rope(
            rms_norm(h, w.input_norm, eps, out_dtype=w.qkv.dtype), w.qkv, self.cos_sin, step.positions,
            *self.config.heads, q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip


@dataclass(frozen=True)
class Qwen3AttentionFused(Qwen3AttentionSeparated):
    """RMSNorm fused into the projection, then head norm + RoPE: the specification's old flow, norm and RoPE in
    order."""

    def project(self, w: LayerWeights, h: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """As in the separated flow, with K and Q rounded once more between projection and norm."""
        eps = self.config.rms_norm_eps
        q, k, v = rms_norm_qkv(h, w.input_norm, w.qkv, eps, *self.config.heads)
        return *qk_norm_rope(q, k, w.q_norm, w.k_norm, self.cos_sin, step.positions, eps), v


@dataclass(frozen=True)
class Qwen3AttentionReference(Qwen3AttentionSeparated):
    """The separated flow with the plain PyTorch references in place of its kernels: for tests, by name only."""

    def project(self, w: LayerWeights, h: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """As in the separated flow."""
        eps = self.config.rms_norm_eps
        return qkv_rope_reference(
            rms_norm_reference(h, w.input_norm, eps), w.qkv, self.cos_sin, step.positions, *self.config.heads,
            q_norm_weight=w.q_norm, k_norm_weight=w.k_norm, eps=eps,
        )  # fmt: skip

    def attend(self, q: Tensor, k_cache: Tensor, v_cache: Tensor, step: Step) -> Tensor:
        """As in the separated flow."""
        if step.start is None:
            return attention_decode_reference(q, k_cache, v_cache, step.lengths, self.config.scale)
        return attention_prefill_reference(q, k_cache[0], v_cache[0], self.config.scale, q_start=step.start)


@dataclass(frozen=True)
class Qwen3AttentionFullyFused:
    """RMSNorm to output projection in one op, K cached after norm and RoPE ("post_rope") or before ("pre_rope")."""

    config: Qwen3Config
    cos_sin: Tensor
    cache: str = "post_rope"

    def __call__(
        self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace: Trace
    ) -> Tensor:
        """h[T,H] -> [T,H]; caches [B,S,Hkv,D] are written in place. Q stays inside the op and is not traced."""
        out = fused_attention(
            h, w.input_norm, w.qkv, w.q_norm, w.k_norm, w.o, self.cos_sin, step.positions, k_cache, v_cache,
            step.lengths, *self.config.heads, self.config.rms_norm_eps, self.config.scale, cache=self.cache,
        )  # fmt: skip
        return h + out


ATTENTIONS = {
    "production": Qwen3AttentionProduction,
    "separated": Qwen3AttentionSeparated,
    "fused": Qwen3AttentionFused,
    "fully_fused": Qwen3AttentionFullyFused,
    "fully_fused_raw": lambda config, cos_sin: Qwen3AttentionFullyFused(config, cos_sin, cache="pre_rope"),
    "reference": Qwen3AttentionReference,
}
