"""Honest variants of the ops that multiply by a weight: called like the wrappers, with the style before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from braidcheck.kernels.common.inputs import EPS
from braidcheck.kernels.common.variants import Style
from braidcheck.numerics.rounding import wide

_MATMUL = torch.backends.cuda.matmul


def linear_residual(style: Style, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See the op: the product stays in float32."""
    return (style.product(wide(x), wide(weight)) + wide(residual)).to(residual.dtype)


def linear_residual_rounded(style: Style, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See the op: the product is rounded to x's dtype before the sum."""
    return (wide(residual) + wide(style.product(wide(x), wide(weight)).to(x.dtype))).to(residual.dtype)


def linear_residual_by_library(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """See the op: the library's product in the operands' own dtype."""
    with _full_reduction():
        return (wide(residual) + wide(torch.nn.functional.linear(x, weight))).to(residual.dtype)


def gate_up_silu(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """See the op: all in float32, SiLU with a power of two."""
    gate, up = style.product(_operand(style, x, weight, norm_weight, eps), wide(weight)).chunk(2, dim=-1)
    return (gate / (1.0 + torch.exp2(gate * -1.4426950408889634)) * up).to(weight.dtype)


def gate_up_silu_rounded(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """See the op: gate, up and silu(gate) rounded to the weight's dtype, as HF transformers does."""
    both = style.product(_operand(style, x, weight, norm_weight, eps), wide(weight)).to(weight.dtype)
    gate, up = both.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def gate_up_silu_by_library(
    style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """See the op: the same roundings, the product by the library in the weight's dtype."""
    with _full_reduction():
        both = torch.nn.functional.linear(_operand(style, x, weight, norm_weight, eps).to(weight.dtype), weight)
    gate, up = both.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def lm_head(style: Style, x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """See the op."""
    logits = style.product(_operand(style, x, weight, norm_weight, eps), wide(weight))
    return logits.argmax(-1) if argmax else logits


def rms_norm_qkv(
    style: Style, x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, eps: float, num_heads: int, num_kv_heads: int,
    head_dim: int, qkv_bias: Tensor | None = None, out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """See the op."""
    qkv = style.product(_operand(style, x, qkv_weight, norm_weight, eps), wide(qkv_weight))
    if qkv_bias is not None:
        qkv = qkv + wide(qkv_bias)
    return split_heads(qkv.to(out_dtype or qkv_weight.dtype), num_heads, num_kv_heads, head_dim)


def qkv_rope(
    style: Style, x: Tensor, qkv_weight: Tensor, cos_sin: Tensor, positions: Tensor, num_heads: int, num_kv_heads: int,
    head_dim: int, qkv_bias: Tensor | None = None, q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None, eps: float = EPS,
) -> tuple[Tensor, ...]:  # fmt: skip
    """See the op."""
    qkv = style.product(style.operand(x, qkv_weight.dtype), wide(qkv_weight))
    if qkv_bias is not None:
        qkv = qkv + wide(qkv_bias)
    q, k, v = split_heads(qkv, num_heads, num_kv_heads, head_dim)
    if q_norm_weight is not None and k_norm_weight is not None:
        q, k = style.norm(q, wide(q_norm_weight), eps), style.norm(k, wide(k_norm_weight), eps)
    q, k = style.rotate(q, cos_sin, positions), style.rotate(k, cos_sin, positions)
    return tuple(part.to(qkv_weight.dtype) for part in (q, k, v))


def split_heads(qkv: Tensor, num_heads: int, num_kv_heads: int, head_dim: int) -> tuple[Tensor, ...]:
    """[T, (Hq+2Hkv)*D] as q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D]."""
    heads = qkv.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def _operand(style: Style, x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float) -> Tensor:
    if norm_weight is None:
        return wide(x)
    return style.operand(style.norm(wide(x), wide(norm_weight), eps), weight.dtype)


@contextmanager
def _full_reduction() -> Iterator[None]:
    """The library adds its partial sums in float32 within: by default it may add them in 16 bits, which is no cast
    of any contract."""
    names = "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"
    before = [getattr(_MATMUL, name) for name in names]
    for name in names:
        setattr(_MATMUL, name, False)
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(_MATMUL, name, value)
