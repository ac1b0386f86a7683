"""Reference, bound and cost.

The bound: the normalised row carries a norm's error and is rounded once to the weight's dtype (declared; nothing in
float32, where the requirements' 2.3e-5 holds), the dot accumulates in float32, the bias adds one rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.op import Case, Cost


def reference(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    eps: float,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:
    """Norm, one product, split."""
    operand = rounding.wide(rounding.rms_normed(x, norm_weight, eps).to(qkv_weight.dtype))
    bias = None if qkv_bias is None else rounding.wide(qkv_bias)
    qkv = torch.nn.functional.linear(operand, rounding.wide(qkv_weight), bias)
    heads = qkv.to(out_dtype or qkv_weight.dtype).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def bound(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    eps: float,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:
    """See the module's derivation."""
    operand = rounding.rms_normed(x.double(), norm_weight.double(), eps)
    cast = qkv_weight.dtype if qkv_weight.dtype != torch.float32 else None
    error = rounding.projection_error(operand, qkv_weight.double(), cast, rounding.norm_error(x.shape[1]))
    if qkv_bias is not None:
        error = error + rounding.U32 * (operand @ qkv_weight.double().T + qkv_bias.double()).abs()
    return error.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def cost(case: Case) -> Cost:
    """x and the weight read once, q, k and v written."""
    size, rows = getattr(torch, case.dtype).itemsize, (case["Hq"] + 2 * case["Hkv"]) * case["D"]
    return Cost(size * (case["T"] * (case["H"] + rows) + rows * case["H"]), 2 * case["T"] * rows * case["H"])
