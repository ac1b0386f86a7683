"""Reference, bound and cost.

The bound: x is rounded to the weight's dtype (declared), products accumulate in float32, the bias adds one rounding.
The contract lets Q and K be rounded to the weight's dtype before norm and RoPE, as engines do whose projection is a
kernel of its own, HF transformers among them (the kernels here do not); it counts twice, so that using it takes half.
The norm carries an element's own error e_i times |w_i|/rms, and that of the sum of squares: r^2 |p_i| sum_j |p_j| e_j
/ D, where the e_j are independent roundings. RoPE mixes the errors of a rotated pair and rounds three times. The result
is rounded once to the weight's dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.inputs import EPS
from braidcheck.numerics import rope, rounding
from braidcheck.op import Case, Cost


def split_heads(x: Tensor, num_heads: int, num_kv_heads: int, head_dim: int) -> tuple[Tensor, ...]:
    """[T, (Hq+2Hkv)*D] as q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D]."""
    heads = x.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def reference(
    x: Tensor,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, ...]:
    """Project, norm per head, rotate: the order of HF transformers."""
    operand = rounding.wide(x.to(qkv_weight.dtype))
    bias = None if qkv_bias is None else rounding.wide(qkv_bias)
    qkv = torch.nn.functional.linear(operand, rounding.wide(qkv_weight), bias)
    q, k, v = split_heads(qkv, num_heads, num_kv_heads, head_dim)
    if q_norm_weight is not None:
        q, k = rope.head_norm(q, q_norm_weight, eps), rope.head_norm(k, k_norm_weight, eps)
    q, k = (rope.rotate(part, cos_sin, positions, qkv_weight.dtype) for part in (q, k))
    return tuple(part.to(qkv_weight.dtype) for part in (q, k, v))


def bound(
    x: Tensor,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, ...]:
    """See the module's derivation."""
    wide, weight = x.double(), qkv_weight.double()
    cast = qkv_weight.dtype if qkv_weight.dtype != torch.float32 else None
    error = rounding.projection_error(wide, weight, cast)
    projected = wide @ weight.T
    if qkv_bias is not None:
        projected = projected + qkv_bias.double()
        error = error + rounding.U32 * projected.abs()
    sizes = num_heads, num_kv_heads, head_dim
    (q, k, _), (q_error, k_error, v_error) = split_heads(projected, *sizes), split_heads(error, *sizes)
    unit = 2 * rounding.ROUNDOFF[qkv_weight.dtype]
    q_error, k_error = q_error + unit * q.abs(), k_error + unit * k.abs()
    rotated = [
        rope.rotated_error(*rope.normed_error(head, head_error, weight, eps), cos_sin, positions)
        for head, head_error, weight in ((q, q_error, q_norm_weight), (k, k_error, k_norm_weight))
    ]
    return *rotated, v_error


def cost(case: Case) -> Cost:
    """x and the weight read once, q, k and v written."""
    size, rows = getattr(torch, case.dtype).itemsize, (case["Hq"] + 2 * case["Hkv"]) * case["D"]
    x = case["T"] * case["H"] * (size if case.get("narrow") else 4)
    return Cost(x + size * rows * (case["T"] + case["H"]), 2 * case["T"] * rows * case["H"])
