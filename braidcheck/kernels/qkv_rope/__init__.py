"""QKV projection of a normalised input, per-head Q/K RMSNorm, then RoPE for Q and K (``kernel``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.configs import default_block_m, get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.persistent_gemm import (
    persistent_config,
    persistent_grid,
    supports_persistent_gemm,
    tensor_descriptor,
    tma_operand,
)
from braidcheck.kernels.common.rms_norm import DEFAULT_EPS
from braidcheck.kernels.common.specs import EPS, INDICES, TensorSpec, size
from braidcheck.kernels.common.validation import MAX_AXIS, Arguments, Sizes
from braidcheck.kernels.qkv_rope.kernel import qkv_rope_persistent_kernel, qkv_rope_tiled_kernel

MIN_PERSISTENT_HEAD_DIM = 32
ANGLE_ALIGNMENT = 8  # bytes of two angles, which the persistent kernel loads at once

Norms = tuple[Tensor | None, Tensor | None]


def qkv_rope(
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
    eps: float = DEFAULT_EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    """Project x, normalise each head of Q and K if norm weights are given, rotate Q and K.

    x[T,H] already normalised, float32 or rounded to the weight's dtype; qkv_weight[(Hq+2Hkv)*D, H] and
    qkv_bias[(Hq+2Hkv)*D]; cos_sin[P,D] float32, cosines first; positions[T] int32 or int64, below P (others give NaN);
    norm weights [D], both or neither, of one dtype. Returns q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D], parts of one tensor, in
    the weight's dtype. Raises ValueError for unsupported arguments.
    """
    norms = q_norm_weight, k_norm_weight
    heads = num_heads, num_kv_heads, head_dim
    sizes = ARGUMENTS.check(x, qkv_weight, cos_sin, positions, *heads, qkv_bias, *norms, eps)
    out = torch.empty(sizes["T"], sizes["N"], dtype=qkv_weight.dtype, device=x.device)
    if out.numel():
        launch = _persistent if _supports_persistent(x, qkv_weight, cos_sin, out) else _tiled
        launch(x, qkv_weight, qkv_bias, cos_sin, positions, norms, out, num_heads, num_kv_heads, eps)
    return out.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def _require_both_norms(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    if (arguments["q_norm_weight"] is None) != (arguments["k_norm_weight"] is None):
        raise ValueError("give both q_norm_weight and k_norm_weight or neither")


ARGUMENTS = Arguments(
    {
        "x": TensorSpec("T,H", (torch.float32, "qkv_weight")),
        "qkv_weight": TensorSpec("N,H"),
        "cos_sin": TensorSpec("P,D", (torch.float32,), contiguous=2),
        "positions": TensorSpec("T", INDICES),
        "num_heads": size("Hq"),
        "num_kv_heads": size("Hkv"),
        "head_dim": size("D"),
        "qkv_bias": TensorSpec("N", optional=True),
        "q_norm_weight": TensorSpec("D", optional=True),
        "k_norm_weight": TensorSpec("D", ("q_norm_weight",), optional=True),
        "eps": EPS,
    },
    axes={"H": (1, MAX_AXIS)},
    derived={"N": lambda sizes: (sizes["Hq"] + 2 * sizes["Hkv"]) * sizes["D"]},
    multiples={"D": 2},
    rules=(_require_both_norms,),
)


def _supports_persistent(x: Tensor, weight: Tensor, cos_sin: Tensor, out: Tensor) -> bool:
    head_dim = cos_sin.shape[1]
    return (
        head_dim >= MIN_PERSISTENT_HEAD_DIM
        and head_dim == next_power_of_2(head_dim)
        and cos_sin.data_ptr() % ANGLE_ALIGNMENT == 0
        and supports_persistent_gemm("qkv_rope", x, weight, out)
    )


def _tiled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cos_sin: Tensor,
    positions: Tensor,
    norms: Norms,
    out: Tensor,
    num_heads: int,
    num_kv_heads: int,
    eps: float,
) -> None:
    (m, k), (max_positions, head_dim) = x.shape, cos_sin.shape
    block_m = default_block_m(m)
    qkv_rope_tiled_kernel[cdiv(m, block_m), num_heads + 2 * num_kv_heads](
        x_ptr=x,
        weight_ptr=weight,
        bias_ptr=bias,
        cos_sin_ptr=cos_sin,
        positions_ptr=positions,
        q_norm_ptr=norms[0],
        k_norm_ptr=norms[1],
        out_ptr=out,
        M=m,
        K=k,
        max_positions=max_positions,
        stride_xm=x.stride(0),
        stride_wn=weight.stride(0),
        eps=eps,
        NUM_HEADS=num_heads,
        NUM_KV_HEADS=num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_D=max(16, next_power_of_2(head_dim // 2)),
        BLOCK_M=block_m,
        HAS_BIAS=bias is not None,
        HAS_NORM=norms[0] is not None,
        **get_config("qkv_rope").meta(),
        **pdl.launch_options(),
    )


def _persistent(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cos_sin: Tensor,
    positions: Tensor,
    norms: Norms,
    out: Tensor,
    num_heads: int,
    num_kv_heads: int,
    eps: float,
) -> None:
    (m, n), (max_positions, head_dim) = out.shape, cos_sin.shape
    meta = persistent_config("qkv_rope", m, n)
    if num_heads % meta["HEADS_PER_TILE"] or num_kv_heads % meta["HEADS_PER_TILE"]:
        meta["HEADS_PER_TILE"] = 1
    block_m, block_n, block_k = meta["BLOCK_M"], meta["HEADS_PER_TILE"] * head_dim, meta["BLOCK_K"]
    qkv_rope_persistent_kernel[persistent_grid(m, n, block_m, block_n, meta.pop("CTAS_PER_SM"))](
        x=tensor_descriptor(tma_operand(x, weight.dtype), block_m, block_k),
        weight=tensor_descriptor(weight, block_n, block_k),
        bias_ptr=bias,
        cos_sin_ptr=cos_sin,
        positions_ptr=positions,
        q_norm_ptr=norms[0],
        k_norm_ptr=norms[1],
        out=tensor_descriptor(out, block_m, head_dim),
        M=m,
        N=n,
        K=x.shape[1],
        max_positions=max_positions,
        eps=eps,
        N_Q=num_heads * head_dim,
        N_QK=(num_heads + num_kv_heads) * head_dim,
        HEAD_DIM=head_dim,
        HAS_BIAS=bias is not None,
        HAS_NORM=norms[0] is not None,
        **meta,
        **pdl.launch_options(),
    )
