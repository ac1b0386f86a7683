"""RMSNorm fused with the QKV projection: the documents' old path, kept as a fallback."""

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
from braidcheck.kernels.rms_norm_qkv import cases, oracle
from braidcheck.kernels.rms_norm_qkv.kernel import _qkv_of_many, _rms_norm_qkv, _rms_norm_qkv_of_few
from braidcheck.op import Contract, Op


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
    v[T,Hkv,D], parts of one tensor, in ``out_dtype``, the weight's by default. Raises ValueError for what it cannot
    serve.
    """
    rows = (num_heads + 2 * num_kv_heads) * head_dim
    require(x.dim() == 2 and norm_weight.shape == x.shape[1:], "x must be [T,H] and norm_weight [H]")
    require(qkv_weight.shape == (rows, x.shape[1]), f"qkv_weight must be [{rows},{x.shape[1]}]")
    require(qkv_bias is None or qkv_bias.shape == (rows,), f"qkv_bias must be [{rows}]")
    require_contiguous_last_dim(x=x, norm_weight=norm_weight, qkv_weight=qkv_weight, qkv_bias=qkv_bias)
    require_same_device(x=x, norm_weight=norm_weight, qkv_weight=qkv_weight, qkv_bias=qkv_bias)
    out = torch.empty(x.shape[0], rows, dtype=out_dtype or qkv_weight.dtype, device=x.device)
    if few.supports_gemv(x, qkv_weight):
        cut = few.gemv_config("rms_norm_qkv", x)
        _rms_norm_qkv_of_few[(triton.cdiv(rows, cut["BLOCK_N"]),)](
            x,
            norm_weight,
            qkv_weight,
            qkv_bias,
            out,
            *out.shape,
            x.stride(0),
            qkv_weight.stride(0),
            eps,
            HAS_BIAS=qkv_bias is not None,
            **cut,
            **overlap.options(),
        )
    elif many.supports_persistent_gemm("rms_norm_qkv", x, qkv_weight, out):
        _of_many(many.rmsnorm_operand(x, norm_weight, eps, qkv_weight.dtype), qkv_weight, qkv_bias, out)
    elif x.shape[0]:
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"rms_norm_qkv in blocks of {block_t}")
        _rms_norm_qkv[triton.cdiv(rows, cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x,
            norm_weight,
            qkv_weight,
            qkv_bias,
            out,
            *out.shape,
            x.shape[1],
            x.stride(0),
            qkv_weight.stride(0),
            eps,
            BLOCK_M=block_t,
            HAS_BIAS=qkv_bias is not None,
            **cut,
            **overlap.options(),
        )
    return out.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def _of_many(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    cut = pinned.cut(many.cut_name("rms_norm_qkv", *out.shape))
    block_t, block_n, block_k = cut["BLOCK_M"], cut["BLOCK_N"], cut["BLOCK_K"]
    _qkv_of_many[many.persistent_grid(*out.shape, block_t, block_n, cut.pop("CTAS_PER_SM"))](
        many.tensor_descriptor(x, block_t, block_k),
        many.tensor_descriptor(weight, block_n, block_k),
        bias,
        many.tensor_descriptor(out, block_t, block_n // 2),
        *out.shape,
        x.shape[1],
        HAS_BIAS=bias is not None,
        **cut,
    )


OP = Op(
    call=rms_norm_qkv,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs=dict.fromkeys("qkv", "out_dtype or qkv_weight"), casts=("the normalised x to the weight's dtype",)
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
