"""``qk_norm_rope``: the norm of each head of Q and K, then their rotation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import EPS, FLOAT32_MAX, INDICES, MIN_NORMAL, NumberSpec, TensorSpec
from braidcheck.kernels.common.validation import MAX_GRID, MAX_ROW, Arguments
from braidcheck.kernels.qk_norm_rope.kernel import _qk_norm_rope

SAFE_K_NORM = 100.0  # K norm weights up to it stay unscaled
ARGUMENTS = Arguments(
    {
        "q": TensorSpec("T,Hq,D", contiguous=2),
        "k": TensorSpec("T,Hkv,D", ("q",), contiguous=2),
        "q_norm_weight": TensorSpec("D"),
        "k_norm_weight": TensorSpec("D", ("q_norm_weight",)),  # the kernel chooses one of the pointers at run time
        "cos_sin": TensorSpec("P,D", (torch.float32,), contiguous=2),
        "positions": TensorSpec("T", INDICES),
        "eps": EPS,
        "k_scale": NumberSpec(MIN_NORMAL, FLOAT32_MAX),
    },
    axes={"Hq": (1, MAX_GRID // 2), "Hkv": (1, MAX_GRID // 2), "D": (2, MAX_ROW)},
    multiples={"D": 2},
)


def safe_k_scale(k_norm_weight: Tensor) -> float:
    """The largest power of two that is at most ``min(1, 100 / max|k_norm_weight|)``.

    1 for the real model's maximum of 96.5. float16 overflows only above a weight of about 5,790, since
    |k| <= weight * sqrt(head_dim).
    """
    peak = float(k_norm_weight.abs().max())
    return min(1.0, 2.0 ** math.floor(math.log2(SAFE_K_NORM / peak))) if peak > 0 else 1.0


def qk_norm_rope(
    q: Tensor,
    k: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    eps: float,
    k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Normalise each head of q[T,Hq,D] and k[T,Hkv,D], rotate both, multiply k by ``k_scale``.

    Norm weights [D]; cos_sin[P,D] float32, cosines first; positions[T] int32 or int64, below P (others give NaN);
    ``k_scale`` a power of two (see ``safe_k_scale``), to be undone in the scores' scale. Returns q, k in their own
    dtypes. Raises ValueError for unsupported arguments.
    """
    ARGUMENTS.check(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps, k_scale)
    if not (k_scale > 0 and math.frexp(k_scale)[0] == 0.5):
        raise ValueError(f"k_scale must be a power of two, is {k_scale}")
    num_tokens, num_heads, head_dim = q.shape
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    k_out = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    if num_tokens:
        config = get_config("qk_norm_rope")
        _qk_norm_rope[cdiv(num_tokens, config.block_m), num_heads + k.shape[1]](
            q_ptr=q,
            k_ptr=k,
            q_norm_ptr=q_norm_weight,
            k_norm_ptr=k_norm_weight,
            cos_sin_ptr=cos_sin,
            positions_ptr=positions,
            q_out_ptr=q_out,
            k_out_ptr=k_out,
            num_tokens=num_tokens,
            max_positions=cos_sin.shape[0],
            stride_qm=q.stride(0),
            stride_km=k.stride(0),
            eps=eps,
            k_scale=float(k_scale),
            NUM_HEADS=num_heads,
            NUM_KV_HEADS=k.shape[1],
            HEAD_DIM=head_dim,
            BLOCK_D=next_power_of_2(head_dim // 2),
            **config.meta(),
        )
    return q_out, k_out
