"""Projection with the residual added in float32: output projection and down projection."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.linear_residual import cases, oracle
from braidcheck.kernels.linear_residual.kernel import (
    _linear_residual,
    _linear_residual_of_few,
    _linear_residual_of_many,
)
from braidcheck.op import Contract, Op


def linear_residual(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """``residual + x @ weight.T``, accumulated and added in float32.

    x[T,K] and weight[H,K] of one dtype, residual[T,H]; returns [T,H] in the residual's dtype. Raises ValueError for
    shapes, strides or dtypes it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,K] and weight[H,K] must agree in K"
    )
    require(residual.shape == (x.shape[0], weight.shape[0]), f"residual must be [{x.shape[0]},{weight.shape[0]}]")
    require(x.dtype == weight.dtype, f"x is {x.dtype}, weight {weight.dtype}: they must be alike")
    require_contiguous_last_dim(x=x, weight=weight, residual=residual)
    require_same_device(x=x, weight=weight, residual=residual)
    out = torch.empty(residual.shape, dtype=residual.dtype, device=x.device)
    if few.supports_gemv(x, weight):
        cut = few.gemv_config("linear_residual", x)
        _linear_residual_of_few[(triton.cdiv(weight.shape[0], cut["BLOCK_N"]),)](
            x,
            weight,
            residual,
            out,
            x.shape[0],
            weight.shape[0],
            x.stride(0),
            weight.stride(0),
            residual.stride(0),
            **cut,
            **overlap.options(),
        )
    elif many.supports_persistent_gemm("linear_residual", x, weight, residual, out):
        _of_many(x, weight, residual, out)
    elif out.numel():
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"linear_residual in blocks of {block_t}")
        _linear_residual[triton.cdiv(weight.shape[0], cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x,
            weight,
            residual,
            out,
            x.shape[0],
            *weight.shape,
            x.stride(0),
            weight.stride(0),
            residual.stride(0),
            BLOCK_M=block_t,
            **cut,
            **overlap.options(),
        )
    return out


def _of_many(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    cut = pinned.cut(many.cut_name("linear_residual", *out.shape))
    block_t, block_n, block_k = cut["BLOCK_M"], cut["BLOCK_N"], cut["BLOCK_K"]
    x, half = many.tma_operand(x, weight.dtype), (block_t, block_n // 2)
    _linear_residual_of_many[many.persistent_grid(*out.shape, block_t, block_n, cut.pop("CTAS_PER_SM"))](
        many.tensor_descriptor(x, block_t, block_k),
        many.tensor_descriptor(weight, block_n, block_k),
        many.tensor_descriptor(residual, *half),
        many.tensor_descriptor(out, *half),
        *out.shape,
        x.shape[1],
        **cut,
    )


OP = Op(
    call=linear_residual,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"out": "residual"}, casts=("the product to x's dtype",)),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
