"""Per-head RMSNorm of Q and K, then RoPE, with an optional power-of-two scale on K.

    x = x / sqrt(mean(x^2) + eps) * weight                        (each head)
    y = [x1 * cos - x2 * sin, x2 * cos + x1 * sin] * scale        (x1, x2: the halves of a head; "rotate half")

Henry et al., "Query-Key Normalization for Transformers" (2020), https://arxiv.org/abs/2010.04245;
Su et al., "RoFormer" (2021), https://arxiv.org/abs/2104.09864.

Grid: (blocks of BLOCK_M tokens, Hq + Hkv heads). Tiles: the two halves of a head, [BLOCK_M, BLOCK_D] each.
Traffic: Q, K and the table's rows are read once, the outputs written once.
Numerics: float32 until the outputs are stored; the scale is a power of two and rounds nothing short of underflow.
Out of range: a position outside the table gives NaN.
Synchronisation: none.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common.rope import rmsnorm_halves, rotate_halves


@triton.jit
def _qk_norm_rope(
    # pointers
    q_ptr,
    k_ptr,
    q_norm_ptr,
    k_norm_ptr,
    cos_sin_ptr,
    positions_ptr,
    q_out_ptr,
    k_out_ptr,
    # sizes
    num_tokens,
    max_positions,
    # strides
    stride_qm,
    stride_km,
    # meta
    eps,
    k_scale,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """One head of q [num_tokens, NUM_HEADS, HEAD_DIM] or k [num_tokens, NUM_KV_HEADS, HEAD_DIM]; outputs contiguous."""
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    head = tl.program_id(1)
    offs_d = tl.arange(0, BLOCK_D)
    row_mask = offs_m < num_tokens
    dim_mask = offs_d < HEAD_DIM // 2
    mask = row_mask[:, None] & dim_mask[None, :]
    in_ptr, norm_ptr, out_ptr = q_ptr, q_norm_ptr, q_out_ptr
    stride_m, num_heads, scale = stride_qm, NUM_HEADS, 1.0
    if head >= NUM_HEADS:
        in_ptr, norm_ptr, out_ptr = k_ptr, k_norm_ptr, k_out_ptr
        stride_m, num_heads, scale = stride_km, NUM_KV_HEADS, k_scale
        head -= NUM_HEADS
    in_ptrs = in_ptr + (offs_m[:, None] * stride_m + head * HEAD_DIM + offs_d[None, :])
    # [BLOCK_M, BLOCK_D]
    x1 = tl.load(in_ptrs, mask=mask, other=0.0).to(tl.float32)
    x2 = tl.load(in_ptrs + HEAD_DIM // 2, mask=mask, other=0.0).to(tl.float32)
    x1, x2 = rmsnorm_halves(x1, x2, norm_ptr, offs_d, dim_mask, eps, HEAD_DIM)
    positions = tl.load(positions_ptr + offs_m, mask=row_mask, other=0).to(tl.int64)
    x1, x2 = rotate_halves(x1, x2, cos_sin_ptr, positions, row_mask, max_positions, offs_d, dim_mask, HEAD_DIM)
    out_ptrs = out_ptr + (offs_m[:, None] * num_heads + head) * HEAD_DIM + offs_d[None, :]
    tl.store(out_ptrs, (x1 * scale).to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(out_ptrs + HEAD_DIM // 2, (x2 * scale).to(out_ptr.dtype.element_ty), mask=mask)
