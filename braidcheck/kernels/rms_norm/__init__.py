"""``rms_norm``: RMSNorm of x, or of x + residual, over the last axis."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import EPS, FLOATS, ChoiceSpec, TensorSpec
from braidcheck.kernels.common.validation import MAX_ROW, Arguments
from braidcheck.kernels.rms_norm.kernel import _rms_norm

ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,H"),
        "weight": TensorSpec("H"),
        "eps": EPS,
        "residual": TensorSpec("T,H", optional=True),
        "out": TensorSpec("T,H", ("out_dtype",), optional=True, written=True, may_be=("x", "residual")),
        "out_dtype": ChoiceSpec(FLOATS),
    },
    axes={"H": (0, MAX_ROW)},
)


def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> Tensor | tuple[Tensor, Tensor]:
    """Normalise each row of ``x (+ residual)`` by its root mean square and multiply by ``weight``.

    x[T,H] and residual[T,H] float32, bfloat16 or float16; weight[H]; y[T,H] in ``out_dtype``, written to ``out`` if
    given (``out`` may be ``x`` itself where x has that dtype). Returns y, or (y, sum) with sum[T,H] = (x + residual)
    rounded to x's dtype. Raises ValueError for unsupported shapes, strides or devices.
    """
    ARGUMENTS.check(x, weight, eps, residual, out, out_dtype)
    y = torch.empty(x.shape, dtype=out_dtype, device=x.device) if out is None else out
    total = torch.empty_like(x, memory_format=torch.contiguous_format) if residual is not None else None
    if x.numel():
        config = get_config("rms_norm")
        _rms_norm[(cdiv(x.shape[0], config.block_m),)](
            x_ptr=x,
            residual_ptr=residual,
            weight_ptr=weight,
            y_ptr=y,
            sum_ptr=total,
            M=x.shape[0],
            N=x.shape[1],
            stride_xm=x.stride(0),
            stride_rm=residual.stride(0) if residual is not None else 0,
            stride_ym=y.stride(0),
            eps=eps,
            BLOCK_N=next_power_of_2(x.shape[1]),
            HAS_RESIDUAL=residual is not None,
            **config.meta(),
            **pdl.launch_options(),
        )
    return y if total is None else (y, total)
