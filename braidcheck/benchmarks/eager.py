"""What each op is timed beside: its separate PyTorch operations, those compiled, cuBLAS alone, SDPA's backends.

All are called exactly like the op and compute what it computes, except for cuBLAS alone, which is its matrix product
without what is fused to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from braidcheck.benchmarks import baselines
from braidcheck.benchmarks.compiled import attended
from braidcheck.op import Inputs

Call = Callable[..., Any]
CUBLAS = "cuBLAS alone"
BACKENDS = {"FlashAttention": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
WEIGHTS = {  # the argument that holds the matrix of the op's one product
    "rms_norm_qkv": "qkv_weight",
    "qkv_rope": "qkv_weight",
    "gate_up_silu": "weight",
    "linear_residual": "weight",
    "lm_head": "weight",
}


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As the op."""
    return baselines.eager_rms_norm(x, weight, eps)


def qkv_rope(
    x: Tensor,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the op with head norms."""
    qkv = F.linear(x.to(qkv_weight.dtype), qkv_weight).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    q, k, v = qkv.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    return *qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps), v


def qk_norm_rope(
    q: Tensor, k: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor, positions: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """As the op."""
    q, k = (
        baselines.eager_rope(baselines.eager_rms_norm(x, weight, eps).to(x.dtype), cos_sin, positions)
        for x, weight in ((q, q_norm_weight), (k, k_norm_weight))
    )
    return q, k


def gate_up_silu(x: Tensor, weight: Tensor, norm_weight: Tensor, eps: float) -> Tensor:
    """As the op with the norm."""
    gate, up = F.linear(baselines.eager_rms_norm(x, norm_weight, eps).to(weight.dtype), weight).chunk(2, dim=-1)
    return F.silu(gate) * up


def linear_residual(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """As the op."""
    return residual + F.linear(x, weight)


def lm_head(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """As the op."""
    logits = F.linear(baselines.eager_rms_norm(x, norm_weight, eps).to(weight.dtype), weight)
    return logits.argmax(-1) if argmax else logits.float()


def cache_write(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """As the op."""
    k_cache[rows, slots], v_cache[rows, slots] = k, v


def attention_decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """As the op for rows that have seen something."""
    seen = torch.arange(k_cache.shape[1], device=q.device)[None] < lengths[:, None]
    return attended(q, k_cache.transpose(1, 2), v_cache.transpose(1, 2), seen, scale)


def decode_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> Tensor:
    """As the op; nothing here has splits to count."""
    q, k = qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    rows = torch.arange(len(q), device=q.device)
    cache_write(k.to(k_cache.dtype), v.to(v_cache.dtype), k_cache, v_cache, rows, positions)
    return attention_decode(q.to(k_cache.dtype), k_cache, v_cache, positions + 1, scale)


def attention_prefill(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """As the op for one sequence from its start."""
    tokens = len(q)
    keys, values = (part.transpose(0, 1).repeat_interleave(q.shape[1] // part.shape[1], dim=0) for part in (k, v))
    scores = (q.transpose(0, 1) @ keys.transpose(1, 2)).float() * scale
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).triu(1)
    p = scores.masked_fill(later, float("-inf")).softmax(-1)
    return (p.to(values.dtype) @ values).transpose(0, 1)


def fused_attention(
    hidden: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    o_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    eps: float,
    scale: float,
) -> Tensor:
    """As the op with rotated keys: one row filled to its capacity, or a decode step of several."""
    sizes = num_heads, num_kv_heads, head_dim
    if len(k_cache) == 1:
        return baselines.eager_attention_block(
            hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, o_weight, cos_sin, positions, k_cache,
            v_cache, lengths, *sizes, eps, scale,
        )  # fmt: skip
    q, k, v = baselines.eager_norm_qkv(hidden, norm_weight, qkv_weight, eps, *sizes)
    q, k = qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)
    cache_write(k, v, k_cache, v_cache, torch.arange(len(q), device=q.device), lengths - 1)
    return F.linear(attention_decode(q, k_cache, v_cache, lengths, scale).flatten(1), o_weight)


EAGER: Mapping[str, Call] = {
    "rms_norm_qkv": baselines.eager_norm_qkv,
    **{
        call.__name__: call
        for call in (
            rms_norm, qkv_rope, qk_norm_rope, gate_up_silu, linear_residual, lm_head, cache_write, attention_decode,
            decode_attention, attention_prefill, fused_attention,
        )
    },
}  # fmt: skip


def baselines_for(op: str, inputs: Mapping[str, Any]) -> tuple[dict[str, Call], Inputs]:
    """The calls beside an op, by name, and the arguments for all of them, the op's own call included.

    cuBLAS takes its operand ready in the weight's dtype; the others do without that argument (``without_operand``).
    """
    made: dict[str, Call] = {}
    if op in EAGER:
        made["eager"] = EAGER[op]
        made["torch.compile"] = torch.compile(EAGER[op], dynamic=False)
    if op in WEIGHTS:
        weight = WEIGHTS[op]
        made[CUBLAS] = lambda *, operand, **rest: F.linear(operand, rest[weight])
        inputs = {**inputs, "operand": inputs["x"].to(inputs[weight].dtype)}
    if op == "attention_prefill":
        made |= {name: _sdpa_prefill(backend) for name, backend in BACKENDS.items()}
    if op == "attention_decode" and len(inputs["lengths"]) == 1:  # neither backend takes rows of several lengths
        made |= {name: _sdpa_decode(backend) for name, backend in BACKENDS.items()}
    return made, dict(inputs)


def without_operand(call: Call) -> Call:
    """The same call, which leaves cuBLAS's operand alone."""
    return lambda *, operand=None, **rest: call(**rest)


def _sdpa_prefill(backend: SDPBackend) -> Call:
    def call(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        return out[0].transpose(0, 1)

    return call


def _sdpa_decode(backend: SDPBackend) -> Call:
    def call(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
        k, v = k_cache.transpose(1, 2), v_cache.transpose(1, 2)
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q[:, :, None], k, v, scale=scale, enable_gqa=True)[:, :, 0]

    return call
