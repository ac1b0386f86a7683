"""Projection with the residual added in float32: output projection and down projection (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.configs import default_block_m, get_config, size_bucket, tiled_bucket
from braidcheck.kernels.common.gemm import gemm_regime
from braidcheck.kernels.common.gemv import gemv_config
from braidcheck.kernels.common.grid import cdiv
from braidcheck.kernels.common.kernel_config import Regime
from braidcheck.kernels.common.persistent_gemm import (
    persistent_config,
    persistent_grid,
    tensor_descriptor,
    tma_operand,
)
from braidcheck.kernels.common.sliced_k import MAX_K, MAX_RESIDENT_TILES, sliced_k_config
from braidcheck.kernels.common.specs import TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_TOKENS, Arguments
from braidcheck.kernels.linear_residual.kernel import (
    linear_residual_gemv_kernel,
    linear_residual_persistent_kernel,
    linear_residual_reduce_kernel,
    linear_residual_sliced_k_kernel,
    linear_residual_split_k_kernel,
    linear_residual_tiled_kernel,
)

ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,K"),
        "weight": TensorSpec("H,K", ("x",)),
        "residual": TensorSpec("T,H"),
    },
    axes={"T": (0, MAX_TOKENS), "K": (1, MAX_AXIS)},
)


def linear_residual(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """``residual + x @ weight.T``, accumulated and added in float32.

    x[T,K] and weight[H,K] of one dtype, residual[T,H]; returns [T,H] in the residual's dtype. Raises ValueError for
    unsupported shapes, strides or dtypes.
    """
    ARGUMENTS.check(x, weight, residual)
    out = torch.empty(residual.shape, dtype=residual.dtype, device=x.device)
    if out.numel():
        regime = gemm_regime("linear_residual", x, weight, residual, out, max_sliced_k=MAX_K)
        LAUNCHES[regime](x, weight, residual, out)
    return out


def _gemv(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    meta = gemv_config("linear_residual", x)
    n = out.shape[1]
    linear_residual_gemv_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        weight_ptr=weight,
        residual_ptr=residual,
        out_ptr=out,
        N=n,
        stride_wn=weight.stride(0),
        **meta,
        **pdl.launch_options(),
    )


def _sliced_k(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    meta = sliced_k_config("linear_residual", x)
    m, n = out.shape
    linear_residual_sliced_k_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        weight_ptr=weight,
        residual_ptr=residual,
        out_ptr=out,
        M=m,
        N=n,
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        stride_rm=residual.stride(0),
        NUM_RESIDENT_TILES=min(MAX_RESIDENT_TILES, meta["NUM_K_TILES"]),
        **meta,
        **pdl.launch_options(),
    )


def _tiled(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    block_m = default_block_m(len(x))
    meta = get_config("linear_residual", Regime.TILED, tiled_bucket(block_m)).meta()
    m, n = out.shape
    linear_residual_tiled_kernel[cdiv(n, meta["BLOCK_N"]), cdiv(m, block_m)](
        x_ptr=x,
        weight_ptr=weight,
        residual_ptr=residual,
        out_ptr=out,
        M=m,
        N=n,
        K=x.shape[1],
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        stride_rm=residual.stride(0),
        BLOCK_M=block_m,
        **meta,
        **pdl.launch_options(),
    )


def _persistent(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    meta = persistent_config("linear_residual", *out.shape)
    block_m, block_n, block_k = meta["BLOCK_M"], meta["BLOCK_N"], meta["BLOCK_K"]
    m, n = out.shape
    linear_residual_persistent_kernel[persistent_grid(m, n, block_m, block_n, meta.pop("CTAS_PER_SM"))](
        x=tensor_descriptor(tma_operand(x, weight.dtype), block_m, block_k),
        weight=tensor_descriptor(weight, block_n, block_k),
        residual=tensor_descriptor(residual, block_m, block_n // 2),
        out=tensor_descriptor(out, block_m, block_n // 2),
        M=m,
        N=n,
        K=x.shape[1],
        **meta,
        **pdl.launch_options(),
    )


def _split_k(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    partial = _split_k_parts(x, weight)
    meta = get_config("linear_residual", Regime.SPLIT_K).meta()
    m, n = out.shape
    linear_residual_reduce_kernel[cdiv(n, meta["BLOCK_N"]), m](
        partial_ptr=partial,
        residual_ptr=residual,
        out_ptr=out,
        M=m,
        N=n,
        stride_rm=residual.stride(0),
        SPLIT_K=len(partial),
        **meta,
        **pdl.dependent_options(),
    )


def _split_k_parts(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T of each part of K, float32 [SPLIT_K, M, N]; ``linear_residual_reduce_kernel`` must follow."""
    meta = get_config("linear_residual", Regime.SPLIT_K, size_bucket("split_k", len(x))).meta()
    block_m, block_n, block_k = meta["BLOCK_M"], meta["BLOCK_N"], meta["BLOCK_K"]
    (m, k), n = x.shape, len(weight)
    partial = torch.empty(meta.pop("NUM_SPLITS"), m, n, dtype=torch.float32, device=x.device)
    linear_residual_split_k_kernel[cdiv(n, block_n), cdiv(m, block_m), len(partial)](
        x=tensor_descriptor(tma_operand(x, weight.dtype), block_m, block_k),
        weight=tensor_descriptor(weight, block_n, block_k),
        partial_ptr=partial,
        M=m,
        N=n,
        k_per_split=cdiv(cdiv(k, len(partial)), block_k) * block_k,
        **meta,
        **pdl.upstream_options(),
    )
    return partial


LAUNCHES = {
    Regime.GEMV: _gemv,
    Regime.SMALL_M: _sliced_k,
    Regime.SPLIT_K: _split_k,
    Regime.TILED: _tiled,
    Regime.PERSISTENT: _persistent,
}
