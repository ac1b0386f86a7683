"""The MLP's gate and up projections with SiLU, optionally with the RMSNorm before them."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.inputs import EPS
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.gate_up_silu import cases, oracle
from braidcheck.kernels.gate_up_silu.kernel import _gate_up_silu, _gate_up_silu_of_few, _gate_up_silu_of_many
from braidcheck.op import Contract, Op


def gate_up_silu(x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS) -> Tensor:
    """``silu(gate) * up`` where gate and up are the halves (gate first) of ``rms_norm(x) @ weight.T``.

    x[T,H]; weight[2I,H]; norm_weight[H], without which x is used as it is and must have the weight's dtype. Returns
    [T,I] in the weight's dtype. Raises ValueError for shapes, strides or dtypes it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,H], weight[2I,H] must agree in H"
    )
    require(weight.shape[0] % 2 == 0, f"weight must stack gate and up, has {weight.shape[0]} rows")
    require(norm_weight is None or norm_weight.shape == x.shape[1:], f"norm_weight must be [{x.shape[1]}]")
    require(norm_weight is not None or x.dtype == weight.dtype, f"x is {x.dtype}, weight {weight.dtype}")
    require_contiguous_last_dim(x=x, weight=weight, norm_weight=norm_weight)
    require_same_device(x=x, weight=weight, norm_weight=norm_weight)
    width = weight.shape[0] // 2
    out = torch.empty(x.shape[0], width, dtype=weight.dtype, device=x.device)
    if few.supports_gemv(x, weight):
        cut = few.gemv_config("gate_up_silu", x)
        _gate_up_silu_of_few[(triton.cdiv(width, cut["BLOCK_N"]),)](
            x,
            weight,
            norm_weight,
            out,
            x.shape[0],
            width,
            x.stride(0),
            weight.stride(0),
            eps,
            HAS_NORM=norm_weight is not None,
            **cut,
            **overlap.options(),
        )
    elif many.supports_persistent_gemm("gate_up_silu", x, weight, out):
        x = (
            many.tma_operand(x, weight.dtype)
            if norm_weight is None
            else many.rmsnorm_operand(x, norm_weight, eps, weight.dtype)
        )
        _of_many(x, weight, out)
    elif out.numel():
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"gate_up_silu in blocks of {block_t}")
        _gate_up_silu[triton.cdiv(width, cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x,
            weight,
            norm_weight,
            out,
            x.shape[0],
            width,
            x.shape[1],
            x.stride(0),
            weight.stride(0),
            eps,
            BLOCK_M=block_t,
            HAS_NORM=norm_weight is not None,
            **cut,
            **overlap.options(),
        )
    return out


def _of_many(x: Tensor, weight: Tensor, out: Tensor) -> None:
    (rows, length), width = weight.shape, out.shape[1]
    cut = pinned.cut(many.cut_name("gate_up_silu", len(x), rows))
    block_t, block_n, block_k = cut["BLOCK_M"], cut["BLOCK_N"], cut["BLOCK_K"]
    _gate_up_silu_of_many[many.persistent_grid(*out.shape, block_t, block_n, cut.pop("CTAS_PER_SM"))](
        many.tensor_descriptor(x, block_t, block_k),
        many.tensor_descriptor(weight.unflatten(0, (2, width)), 2, block_n, block_k),
        many.tensor_descriptor(out, block_t, block_n),
        *out.shape,
        length,
        **cut,
    )


OP = Op(
    call=gate_up_silu,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "weight"},
        casts=(
            "with norm_weight: the normalised x to the weight's dtype",
            "gate, up and silu(gate) to the weight's dtype",
        ),
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
