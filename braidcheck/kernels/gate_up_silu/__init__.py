"""The MLP's gate and up projections with SiLU, optionally with the RMSNorm before them (``kernel``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.configs import default_block_m, get_config, tiled_bucket
from braidcheck.kernels.common.gemm import gemm_regime
from braidcheck.kernels.common.gemv import gemv_config
from braidcheck.kernels.common.grid import cdiv
from braidcheck.kernels.common.kernel_config import Regime
from braidcheck.kernels.common.persistent_gemm import (
    persistent_config,
    persistent_grid,
    rmsnorm_operand,
    tensor_descriptor,
    tma_operand,
)
from braidcheck.kernels.common.rms_norm import DEFAULT_EPS
from braidcheck.kernels.common.sliced_k import sliced_k_config
from braidcheck.kernels.common.specs import EPS, TensorSpec
from braidcheck.kernels.common.validation import MAX_ROW, MAX_TOKENS, Arguments, Sizes
from braidcheck.kernels.gate_up_silu.kernel import (
    gate_up_silu_gemv_kernel,
    gate_up_silu_persistent_kernel,
    gate_up_silu_sliced_k_kernel,
    gate_up_silu_tiled_kernel,
)


def _require_weights_dtype(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    if arguments["norm_weight"] is None and arguments["x"].dtype != arguments["weight"].dtype:
        raise ValueError(
            f"x must be {arguments['weight'].dtype} as weight, for norm_weight is None; is {arguments['x'].dtype}"
        )


ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,H"),
        "weight": TensorSpec("N,H"),
        "norm_weight": TensorSpec("H", optional=True),
        "eps": EPS,
    },
    axes={"T": (0, MAX_TOKENS), "H": (1, MAX_ROW)},
    multiples={"N": 2},
    rules=(_require_weights_dtype,),
)


def gate_up_silu(x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = DEFAULT_EPS) -> Tensor:
    """``silu(gate) * up`` where gate and up are the halves (gate first) of ``rms_norm(x) @ weight.T``.

    x[T,H]; weight[2I,H]; norm_weight[H], without which x is used as it is and must have the weight's dtype. Returns
    [T,I] in the weight's dtype. Raises ValueError for unsupported shapes, strides or dtypes.
    """
    ARGUMENTS.check(x, weight, norm_weight, eps)
    out = torch.empty(x.shape[0], weight.shape[0] // 2, dtype=weight.dtype, device=x.device)
    if out.numel():
        LAUNCHES[gemm_regime("gate_up_silu", x, weight, out)](x, weight, norm_weight, eps, out)
    return out


def _gemv(x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float, out: Tensor) -> None:
    meta = gemv_config("gate_up_silu", x)
    n = out.shape[1]
    gate_up_silu_gemv_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        weight_ptr=weight,
        norm_weight_ptr=norm_weight,
        out_ptr=out,
        N=n,
        stride_wn=weight.stride(0),
        eps=eps,
        HAS_NORM=norm_weight is not None,
        **meta,
        **pdl.launch_options(),
    )


def _sliced_k(x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float, out: Tensor) -> None:
    meta = sliced_k_config("gate_up_silu", x)
    m, n = out.shape
    gate_up_silu_sliced_k_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        weight_ptr=weight,
        norm_weight_ptr=norm_weight,
        out_ptr=out,
        M=m,
        N=n,
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        eps=eps,
        HAS_NORM=norm_weight is not None,
        **meta,
        **pdl.launch_options(),
    )


def _tiled(x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float, out: Tensor) -> None:
    block_m = default_block_m(len(x))
    meta = get_config("gate_up_silu", Regime.TILED, tiled_bucket(block_m)).meta()
    m, n = out.shape
    gate_up_silu_tiled_kernel[cdiv(n, meta["BLOCK_N"]), cdiv(m, block_m)](
        x_ptr=x,
        weight_ptr=weight,
        norm_weight_ptr=norm_weight,
        out_ptr=out,
        M=m,
        N=n,
        K=x.shape[1],
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        eps=eps,
        BLOCK_M=block_m,
        HAS_NORM=norm_weight is not None,
        **meta,
        **pdl.launch_options(),
    )


def _persistent(x: Tensor, weight: Tensor, norm_weight: Tensor | None, eps: float, out: Tensor) -> None:
    dtype = weight.dtype
    h = tma_operand(x, dtype) if norm_weight is None else rmsnorm_operand(x, norm_weight, eps, dtype)
    meta = persistent_config("gate_up_silu", len(x), len(weight))
    block_m, block_n, block_k = meta["BLOCK_M"], meta["BLOCK_N"], meta["BLOCK_K"]
    m, n = out.shape
    gate_up_silu_persistent_kernel[persistent_grid(m, n, block_m, block_n, meta.pop("CTAS_PER_SM"))](
        x=tensor_descriptor(h, block_m, block_k),
        weight=tensor_descriptor(weight.unflatten(0, (2, n)), 2, block_n, block_k),
        out=tensor_descriptor(out, block_m, block_n),
        weight_ptr=weight,
        M=m,
        N=n,
        K=x.shape[1],
        stride_wn=weight.stride(0),
        **meta,
        **(pdl.launch_options() if norm_weight is None else pdl.dependent_options()),
    )


LAUNCHES = {
    Regime.GEMV: _gemv,
    Regime.SMALL_M: _sliced_k,
    Regime.TILED: _tiled,
    Regime.PERSISTENT: _persistent,
}
