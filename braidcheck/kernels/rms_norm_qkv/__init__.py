"""RMSNorm fused with the QKV projection: the requirements' old path, kept as a fallback (``kernel``)."""

from __future__ import annotations

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
)
from braidcheck.kernels.common.sliced_k import sliced_k_config
from braidcheck.kernels.common.specs import EPS, FLOATS, ChoiceSpec, TensorSpec, size
from braidcheck.kernels.common.validation import MAX_ROW, MAX_TOKENS, Arguments
from braidcheck.kernels.rms_norm_qkv.kernel import (
    rms_norm_qkv_gemv_kernel,
    rms_norm_qkv_persistent_kernel,
    rms_norm_qkv_sliced_k_kernel,
    rms_norm_qkv_tiled_kernel,
)

ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,H"),
        "norm_weight": TensorSpec("H"),
        "qkv_weight": TensorSpec("N,H"),
        "eps": EPS,
        "num_heads": size("Hq"),
        "num_kv_heads": size("Hkv"),
        "head_dim": size("D"),
        "qkv_bias": TensorSpec("N", optional=True),
        "out_dtype": ChoiceSpec((*FLOATS, None)),
    },
    axes={"T": (0, MAX_TOKENS), "H": (1, MAX_ROW)},
    derived={"N": lambda sizes: (sizes["Hq"] + 2 * sizes["Hkv"]) * sizes["D"]},
)


def rms_norm_qkv(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    eps: float,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``rms_norm(x) @ qkv_weight.T + qkv_bias``, split into heads.

    x[T,H]; norm_weight[H]; qkv_weight[(Hq+2Hkv)*D, H]; qkv_bias[(Hq+2Hkv)*D]. Returns q[T,Hq,D], k[T,Hkv,D],
    v[T,Hkv,D], parts of one tensor, in ``out_dtype``, the weight's by default. Raises ValueError for unsupported
    arguments.
    """
    heads = num_heads, num_kv_heads, head_dim
    sizes = ARGUMENTS.check(x, norm_weight, qkv_weight, eps, *heads, qkv_bias, out_dtype)
    out = torch.empty(sizes["T"], sizes["N"], dtype=out_dtype or qkv_weight.dtype, device=x.device)
    if out.numel():
        regime = gemm_regime("rms_norm_qkv", x, qkv_weight, out, float32=True)
        LAUNCHES[regime](x, norm_weight, qkv_weight, qkv_bias, eps, out)
    return out.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def _gemv(x: Tensor, norm_weight: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out: Tensor) -> None:
    meta = gemv_config("rms_norm_qkv", x)
    n = out.shape[1]
    rms_norm_qkv_gemv_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        norm_weight_ptr=norm_weight,
        weight_ptr=weight,
        bias_ptr=bias,
        out_ptr=out,
        N=n,
        stride_wn=weight.stride(0),
        eps=eps,
        HAS_BIAS=bias is not None,
        **meta,
        **pdl.launch_options(),
    )


def _sliced_k(x: Tensor, norm_weight: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out: Tensor) -> None:
    meta = sliced_k_config("rms_norm_qkv", x)
    m, n = out.shape
    rms_norm_qkv_sliced_k_kernel[(cdiv(n, meta["BLOCK_N"]),)](
        x_ptr=x,
        norm_weight_ptr=norm_weight,
        weight_ptr=weight,
        bias_ptr=bias,
        out_ptr=out,
        M=m,
        N=n,
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        eps=eps,
        HAS_BIAS=bias is not None,
        **meta,
        **pdl.launch_options(),
    )


def _tiled(x: Tensor, norm_weight: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out: Tensor) -> None:
    block_m = default_block_m(len(x))
    meta = get_config("rms_norm_qkv", Regime.TILED, tiled_bucket(block_m)).meta()
    m, n = out.shape
    rms_norm_qkv_tiled_kernel[cdiv(n, meta["BLOCK_N"]), cdiv(m, block_m)](
        x_ptr=x,
        norm_weight_ptr=norm_weight,
        weight_ptr=weight,
        bias_ptr=bias,
        out_ptr=out,
        M=m,
        N=n,
        K=x.shape[1],
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        eps=eps,
        BLOCK_M=block_m,
        HAS_BIAS=bias is not None,
        **meta,
        **pdl.launch_options(),
    )


def _persistent(x: Tensor, norm_weight: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out: Tensor) -> None:
    h = rmsnorm_operand(x, norm_weight, eps, weight.dtype)
    meta = persistent_config("rms_norm_qkv", *out.shape)
    block_m, block_n, block_k = meta["BLOCK_M"], meta["BLOCK_N"], meta["BLOCK_K"]
    m, n = out.shape
    rms_norm_qkv_persistent_kernel[persistent_grid(m, n, block_m, block_n, meta.pop("CTAS_PER_SM"))](
        x=tensor_descriptor(h, block_m, block_k),
        weight=tensor_descriptor(weight, block_n, block_k),
        weight_ptr=weight,
        bias_ptr=bias,
        out=tensor_descriptor(out, block_m, block_n // 2),
        M=m,
        N=n,
        K=x.shape[1],
        stride_wn=weight.stride(0),
        HAS_BIAS=bias is not None,
        **meta,
        **pdl.dependent_options(),
    )


LAUNCHES = {
    Regime.GEMV: _gemv,
    Regime.SMALL_M: _sliced_k,
    Regime.TILED: _tiled,
    Regime.PERSISTENT: _persistent,
}
