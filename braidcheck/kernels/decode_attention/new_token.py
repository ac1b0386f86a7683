"""Head norm and RoPE of the new token's queries and key, as one tile (``kernel``)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rope_weights(
    # pointers
    q_norm_ptr,
    k_norm_ptr,
    cos_sin_ptr,
    # the new token
    position,
    in_range,
    # [BLOCK_QK]
    is_key,
    # [BLOCK_D]
    offs_d,
    offs_pair,
    d_mask,
    # meta
    HEAD_DIM: tl.constexpr,
):
    """Norm weight times cos and times -sin or sin, [BLOCK_QK, BLOCK_D] each, K's in the row of the key.

    rope(rms_norm(x) * w) = (x * w_cos + x_pair * w_sin) / rms(x), where x_pair[d] is the dimension rotated with d.
    """
    half: tl.constexpr = HEAD_DIM // 2
    angle_ptrs = cos_sin_ptr + tl.where(in_range, position, 0) * HEAD_DIM + offs_d % half
    cos = tl.load(angle_ptrs, mask=in_range & d_mask, other=float("nan"))  # [BLOCK_D]
    sin = tl.load(angle_ptrs + half, mask=in_range & d_mask, other=float("nan"))  # [BLOCK_D]
    w_cos = select_q_or_k(is_key, k_norm_ptr, q_norm_ptr, offs_d, d_mask, d_mask[None, :]) * cos[None, :]
    w_sin = select_q_or_k(is_key, k_norm_ptr, q_norm_ptr, offs_pair, d_mask, d_mask[None, :])
    w_sin *= tl.where(offs_d < half, -sin, sin)[None, :]
    return w_cos, w_sin


@triton.jit
def norm_and_rotate(
    # [BLOCK_QK, BLOCK_D]; is_key [BLOCK_QK]
    x,
    x_pair,
    w_cos,
    w_sin,
    is_key,
    qk_mask,
    # sizes
    eps,
    # meta
    DTYPE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
):
    """The queries [BLOCK_QK, BLOCK_D], zeros in the row of the key, and the new key [BLOCK_D], after norm and RoPE."""
    inv_rms = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / HEAD_DIM + eps)  # [BLOCK_QK]
    rotated = tl.where(qk_mask, (x * w_cos + x_pair * w_sin) * inv_rms[:, None], 0.0)  # [BLOCK_QK, BLOCK_D]
    new_k = tl.sum(tl.where(is_key[:, None], rotated, 0.0), axis=0).to(DTYPE)  # [BLOCK_D]
    q = tl.where(is_key[:, None], 0.0, rotated).to(DTYPE)  # [BLOCK_QK, BLOCK_D]
    return q, new_k


@triton.jit
def select_q_or_k(is_key, k_ptr, q_ptr, offs_d, d_mask, q_mask):
    """The key's row where ``is_key`` and the queries' elsewhere, float32 [BLOCK_QK, BLOCK_D]; what is masked is 0."""
    k = tl.load(k_ptr + offs_d, mask=d_mask, other=0.0).to(tl.float32)  # [BLOCK_D]
    q = tl.load(q_ptr + offs_d[None, :], mask=q_mask, other=0.0).to(tl.float32)  # [1 or BLOCK_QK, BLOCK_D]
    return tl.where(is_key[:, None], k[None, :], q)
