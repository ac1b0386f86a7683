"""Per-head RMSNorm and RoPE on the device, for heads held as two halves x1, x2 of HEAD_DIM // 2 dimensions each.

RoPE rotates halves (HF transformers' ``rotate_half``), so that a pair is (x1[d], x2[d]) and each thread holds both:

    x1' = x1 * cos - x2 * sin        x2' = x2 * cos + x1 * sin

The table is cos_sin[P, HEAD_DIM] float32, a position's cosines before its sines. All arithmetic is float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rmsnorm_halves(x1, x2, weight_ptr, offs_d, d_mask, eps, HEAD_DIM: tl.constexpr):
    """RMSNorm over a head of its halves x1, x2 [BLOCK_M, BLOCK_D], float32; weight [HEAD_DIM]."""
    squares = tl.sum(x1 * x1, axis=1) + tl.sum(x2 * x2, axis=1)  # [BLOCK_M]
    rstd = 1.0 / tl.sqrt(squares / HEAD_DIM + eps)  # [BLOCK_M]
    weight1 = tl.load(weight_ptr + offs_d, mask=d_mask, other=0.0).to(tl.float32)  # [BLOCK_D]
    weight2 = tl.load(weight_ptr + HEAD_DIM // 2 + offs_d, mask=d_mask, other=0.0).to(tl.float32)  # [BLOCK_D]
    return x1 * rstd[:, None] * weight1[None, :], x2 * rstd[:, None] * weight2[None, :]


@triton.jit
def rotate_halves(x1, x2, cos_sin_ptr, positions, m_mask, max_positions, offs_d, d_mask, HEAD_DIM: tl.constexpr):
    """RoPE of the halves x1, x2 [BLOCK_M, BLOCK_D], float32, at ``positions`` [BLOCK_M].

    A position outside the table gives NaN: never a plausible number.
    """
    in_bounds = m_mask & (positions >= 0) & (positions < max_positions)  # [BLOCK_M]
    cos_ptrs = cos_sin_ptr + positions[:, None] * HEAD_DIM + offs_d[None, :]
    mask = in_bounds[:, None] & d_mask[None, :]
    cos = tl.load(cos_ptrs, mask=mask, other=float("nan"))  # [BLOCK_M, BLOCK_D]
    sin = tl.load(cos_ptrs + HEAD_DIM // 2, mask=mask, other=float("nan"))  # [BLOCK_M, BLOCK_D]
    return x1 * cos - x2 * sin, x2 * cos + x1 * sin
