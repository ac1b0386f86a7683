"""Final RMSNorm and the projection to the vocabulary, logits in float32 or their argmax (``kernel``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common import gemv, pdl, sliced_k
from braidcheck.kernels.common.configs import default_block_m, get_config, tiled_bucket
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import Regime
from braidcheck.kernels.common.specs import EPS, ChoiceSpec, TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_TOKENS, MAX_VOCABULARY, Arguments
from braidcheck.kernels.lm_head.kernel import (
    lm_head_argmax_kernel,
    lm_head_gemv_kernel,
    lm_head_sliced_k_kernel,
    lm_head_tiled_kernel,
)

ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,H"),
        "norm_weight": TensorSpec("H"),
        "weight": TensorSpec("V,H"),
        "eps": EPS,
        "argmax": ChoiceSpec((False, True)),
    },
    axes={"T": (0, MAX_TOKENS), "H": (1, MAX_AXIS), "V": (1, MAX_VOCABULARY)},
)


def lm_head(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """Logits ``rms_norm(x) @ weight.T``, or with ``argmax`` the token of the best one, the lowest where they tie.

    x[T,H], norm_weight[H], weight[V,H]. Returns float32 [T,V], or int64 [T] without the logits being stored; a NaN
    counts as the best. Raises ValueError for shapes, strides or devices it cannot serve.
    """
    ARGUMENTS.check(x, norm_weight, weight, eps, argmax)
    m, n = len(x), len(weight)
    kernel, grid, options = _launch(x, weight)
    num_splits = grid[0]
    out = torch.empty(m, num_splits if argmax else n, dtype=torch.float32, device=x.device)
    best = torch.empty(m, num_splits, dtype=torch.int32, device=x.device) if argmax else None
    if out.numel():
        kernel[grid](
            x_ptr=x,
            norm_weight_ptr=norm_weight,
            weight_ptr=weight,
            out_ptr=out,
            best_ptr=best,
            N=n,
            stride_wn=weight.stride(0),
            eps=eps,
            ARGMAX=argmax,
            **options,
            **pdl.launch_options(),
        )
    return _argmax(out, best) if argmax else out


def _launch(x: Tensor, weight: Tensor) -> tuple[Any, tuple[int, ...], dict[str, int]]:
    """The kernel for ``x @ weight.T``, its grid, and its other sizes, constexprs and launch options."""
    n = len(weight)
    rows = {"M": len(x), "stride_xm": x.stride(0)}
    if gemv.supports_gemv(x, weight):
        kernel, options = lm_head_gemv_kernel, gemv.gemv_config("lm_head", x)
    elif sliced_k.supports_sliced_k("lm_head", x, weight, sliced_k.MAX_K_WITH_NORM):
        kernel, options = lm_head_sliced_k_kernel, rows | sliced_k.sliced_k_config("lm_head", x)
    else:
        block_m = default_block_m(len(x))
        meta = get_config("lm_head", Regime.TILED, tiled_bucket(block_m)).meta()
        grid = cdiv(n, meta["BLOCK_N"]), cdiv(len(x), block_m)
        return lm_head_tiled_kernel, grid, rows | {"K": x.shape[1], "BLOCK_M": block_m, **meta}
    return kernel, (min(options.pop("NUM_CTAS"), cdiv(n, options["BLOCK_N"])),), options


def _argmax(maxima: Tensor, best: Tensor) -> Tensor:
    """The tokens [M], int64, of the maxima [M, num_splits] of parts of the vocabulary and their tokens ``best``."""
    m, num_splits = maxima.shape
    token = torch.empty(m, dtype=torch.int64, device=maxima.device)
    if m:
        lm_head_argmax_kernel[(m,)](
            max_ptr=maxima,
            best_ptr=best,
            out_ptr=token,
            num_splits=num_splits,
            BLOCK_SPLITS=next_power_of_2(num_splits),
        )
    return token
