"""QKV projection with a per-head RMSNorm and RoPE epilogue on q and k: two GEMMs, by the number of rows.

    y = x @ weight.T + bias                                          x [M, K], weight [N, K], y and out [M, N]
    q, k, v = split of y into heads of D columns                     N = (Hq + 2 * Hkv) * D
    q, k = rope(rms_norm(q) * q_norm), rope(rms_norm(k) * k_norm)    per head; RoPE rotates halves (``common/rope``)

TILED, ``qkv_rope_tiled_kernel``, any M and D: BLOCK_M rows of one head a program, through pointers, as two products,
one for each half of the head, so that a thread holds the pairs that RoPE rotates. Grid (cdiv(M, BLOCK_M), Hq + 2 *
Hkv). Both accumulators stay in registers.
PERSISTENT, ``qkv_rope_persistent_kernel``, M >= 17 where TMA can be used, D >= 32 and a power of two: Triton's tutorial
09 with grouped ordering and TMA (``common/persistent_gemm``); a tile is BLOCK_M rows of HEADS_PER_TILE heads, all of q,
all of k or all of v. The tiles of v, whose epilogue is shortest, come last. Grid (CTAS_PER_SM * number of SMs,), at
most one program a tile.

HBM traffic: out once; weight once per BLOCK_M rows, from the L2 cache where tiles of rows run side by side; x once, and
from the L2 cache for each further tile of N; a row of the table a token.
Cast points: x to the weight's dtype, out to its dtype. Products, norm and rotation are float32 (no TF32).
Out of range: rows past M and columns past K are masked or outside the descriptors: neither read nor written. A position
outside the table gives NaN in q and k.
Synchronisation (PDL): both let the next kernel start at once and wait for the upstream kernels before all loads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.persistent_gemm import gemm_mainloop, num_tiles, split_n, tile_origin
from braidcheck.kernels.common.rope import rmsnorm_halves, rotate_halves

IN_INTERPRETER = tl.constexpr(INTERPRETED)


@triton.jit
def qkv_rope_tiled_kernel(
    # pointers
    x_ptr,  # [M, K]
    weight_ptr,  # [N, K]
    bias_ptr,  # [N]
    cos_sin_ptr,  # [max_positions, HEAD_DIM] float32
    positions_ptr,  # [M]
    q_norm_ptr,  # [HEAD_DIM]
    k_norm_ptr,  # [HEAD_DIM]
    out_ptr,  # [M, N]
    # sizes
    M,
    K,
    max_positions,
    # strides
    stride_xm,
    stride_wn,
    # scalars
    eps,
    # meta
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_M rows of one head, as halves of BLOCK_D >= HEAD_DIM // 2 columns."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    head = tl.program_id(1)
    offs_d = tl.arange(0, BLOCK_D)
    m_mask = offs_m < M
    d_mask = offs_d < HEAD_DIM // 2
    offs_n1 = (head * HEAD_DIM + offs_d).to(tl.int64)  # rows of the weight that make the first half of this head
    offs_n2 = offs_n1 + HEAD_DIM // 2
    acc1 = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        offs_k = start_k + tl.arange(0, BLOCK_K)
        k_mask = offs_k < K
        x_mask = m_mask[:, None] & k_mask[None, :]
        # [BLOCK_M, BLOCK_K]
        x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=x_mask, other=0.0)
        x = x.to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & d_mask[None, :]
        # [BLOCK_K, BLOCK_D]
        w1 = tl.load(weight_ptr + offs_n1[None, :] * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        w2 = tl.load(weight_ptr + offs_n2[None, :] * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        acc1 = tl.dot(x, w1, acc1, input_precision="ieee")
        acc2 = tl.dot(x, w2, acc2, input_precision="ieee")
    if HAS_BIAS:
        acc1 += tl.load(bias_ptr + offs_n1, mask=d_mask, other=0.0).to(tl.float32)[None, :]  # [1, BLOCK_D]
        acc2 += tl.load(bias_ptr + offs_n2, mask=d_mask, other=0.0).to(tl.float32)[None, :]
    if head < NUM_HEADS + NUM_KV_HEADS:  # v is neither normalised nor rotated
        if HAS_NORM:
            norm_ptr = k_norm_ptr
            if head < NUM_HEADS:
                norm_ptr = q_norm_ptr
            acc1, acc2 = rmsnorm_halves(acc1, acc2, norm_ptr, offs_d, d_mask, eps, HEAD_DIM)
        positions = tl.load(positions_ptr + offs_m, mask=m_mask, other=0).to(tl.int64)  # [BLOCK_M]
        acc1, acc2 = rotate_halves(acc1, acc2, cos_sin_ptr, positions, m_mask, max_positions, offs_d, d_mask, HEAD_DIM)
    out_mask = m_mask[:, None] & d_mask[None, :]
    out_offsets = (offs_m[:, None] * tl.num_programs(1) + head) * HEAD_DIM + offs_d[None, :]
    tl.store(out_ptr + out_offsets, acc1.to(out_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out_ptr + out_offsets + HEAD_DIM // 2, acc2.to(out_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def load_angles(row_ptrs, in_bounds, HALF_DIM: tl.constexpr):
    """Cosines or sines [BLOCK_M, HALF_DIM] from where each row's begin; NaN in rows that are not ``in_bounds``.

    A tl.load would take the layout of memory and exchange the numbers through shared memory, which a fourth stage of
    the GEMM needs; inline PTX leaves each pair with the thread that multiplies by it.
    """
    ptrs = row_ptrs[:, None] + 2 * tl.arange(0, HALF_DIM // 2)[None, :]  # [BLOCK_M, HALF_DIM // 2], of pairs
    if IN_INTERPRETER:
        even = tl.load(ptrs, mask=in_bounds[:, None], other=float("nan"))
        odd = tl.load(ptrs + 1, mask=in_bounds[:, None], other=float("nan"))
    else:
        even, odd = tl.inline_asm_elementwise(
            """{
            .reg .pred known;
            setp.ne.b32 known, $3, 0;
            mov.b32 $0, 0x7fc00000;
            mov.b32 $1, 0x7fc00000;
            @known ld.global.nc.v2.f32 {$0, $1}, [$2];
            }""",
            "=f,=f,l,r",
            [ptrs.to(tl.int64), in_bounds.to(tl.int32)[:, None]],
            dtype=(tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    return tl.reshape(tl.join(even, odd), (row_ptrs.shape[0], HALF_DIM))


@triton.jit
def qkv_tile_origin(tile_id, M, N, N_QK: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a tile. v's tiles, with the shortest epilogue, come last: all programs get as many."""
    qk_tiles = num_tiles(M, N_QK, BLOCK_M, BLOCK_N)
    is_v = tile_id >= qk_tiles
    tile_id -= tl.where(is_v, qk_tiles, 0)
    start_m, start_n = tile_origin(tile_id, M, tl.where(is_v, N - N_QK, N_QK), BLOCK_M, BLOCK_N)
    return start_m, start_n + tl.where(is_v, N_QK, 0)


@triton.jit
def rmsnorm_rope_heads(
    # halves of the heads
    x1,  # [BLOCK_M, HEADS_PER_TILE, HALF_DIM] float32
    x2,  # [BLOCK_M, HEADS_PER_TILE, HALF_DIM] float32
    start_m,
    start_n,
    offs_d,  # [HALF_DIM]
    # pointers
    cos_sin_ptr,  # [max_positions, HEAD_DIM] float32
    positions_ptr,  # [M]
    q_norm_ptr,  # [HEAD_DIM]
    k_norm_ptr,  # [HEAD_DIM]
    # sizes
    M,
    max_positions,
    eps,
    # meta
    N_Q: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    """RMSNorm and RoPE of a tile's heads: of q where start_n < N_Q, else of k."""
    HALF_DIM: tl.constexpr = HEAD_DIM // 2
    offs_m = start_m + tl.arange(0, BLOCK_M)
    positions = tl.load(positions_ptr + offs_m, mask=offs_m < M, other=-1)  # [BLOCK_M]
    in_bounds = (positions >= 0) & (positions < max_positions)
    cos_ptrs = cos_sin_ptr + positions.to(tl.int32) * HEAD_DIM
    cos = load_angles(cos_ptrs, in_bounds, HALF_DIM)[:, None, :]  # [BLOCK_M, 1, HALF_DIM]
    sin = load_angles(cos_ptrs + HALF_DIM, in_bounds, HALF_DIM)[:, None, :]
    if HAS_NORM:
        rstd = 1.0 / tl.sqrt(tl.sum(x1 * x1 + x2 * x2, axis=2) / HEAD_DIM + eps)  # [BLOCK_M, HEADS_PER_TILE]
        norm_ptr = tl.where(start_n < N_Q, q_norm_ptr, k_norm_ptr)
        x1 *= tl.load(norm_ptr + offs_d).to(tl.float32)[None, None, :]
        x2 *= tl.load(norm_ptr + HALF_DIM + offs_d).to(tl.float32)[None, None, :]
    x1_rot, x2_rot = x1 * cos - x2 * sin, x2 * cos + x1 * sin
    if HAS_NORM:  # after the rotation, so that fewer values are live until then
        x1_rot *= rstd[:, :, None]
        x2_rot *= rstd[:, :, None]
    return x1_rot, x2_rot


@triton.jit
def qkv_rope_persistent_kernel(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]
    weight,  # [N, K], tiles [HEADS_PER_TILE * HEAD_DIM, BLOCK_K]
    # pointers
    bias_ptr,  # [N]
    cos_sin_ptr,  # [max_positions, HEAD_DIM] float32
    positions_ptr,  # [M]
    q_norm_ptr,  # [HEAD_DIM]
    k_norm_ptr,  # [HEAD_DIM]
    # tensor descriptors
    out,  # [M, N], tiles [BLOCK_M, HEAD_DIM]
    # sizes
    M,
    N,
    K,
    max_positions,
    # scalars
    eps,
    # meta
    N_Q: tl.constexpr,
    N_QK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEADS_PER_TILE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """The tiles pid, pid + grid size, ... of out; its first N_Q columns are q's, its first N_QK q's and k's."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    BLOCK_N: tl.constexpr = HEADS_PER_TILE * HEAD_DIM
    HALF_DIM: tl.constexpr = HEAD_DIM // 2
    offs_d = tl.arange(0, HALF_DIM)
    tiles = num_tiles(M, N, BLOCK_M, BLOCK_N)
    for tile_id in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        start_m, start_n = qkv_tile_origin(tile_id, M, N, N_QK, BLOCK_M, BLOCK_N)
        acc = gemm_mainloop(x, weight, start_m, start_n, K, BLOCK_M, BLOCK_N, BLOCK_K)  # [BLOCK_M, BLOCK_N]
        if HAS_BIAS:
            acc += tl.load(bias_ptr + start_n + tl.arange(0, BLOCK_N)).to(tl.float32)[None, :]  # [1, BLOCK_N]
        # [BLOCK_M, HEADS_PER_TILE, HALF_DIM] each
        x1, x2 = tl.split(tl.permute(tl.reshape(acc, (BLOCK_M, HEADS_PER_TILE, 2, HALF_DIM)), (0, 1, 3, 2)))
        y1, y2 = x1.to(out.dtype), x2.to(out.dtype)
        if start_n < N_QK:
            x1_rot, x2_rot = rmsnorm_rope_heads(
                x1,
                x2,
                start_m,
                start_n,
                offs_d,
                cos_sin_ptr,
                positions_ptr,
                q_norm_ptr,
                k_norm_ptr,
                M,
                max_positions,
                eps,
                N_Q,
                HEAD_DIM,
                BLOCK_M,
                HAS_NORM,
            )
            y1, y2 = x1_rot.to(out.dtype), x2_rot.to(out.dtype)
        heads = tl.reshape(tl.permute(tl.join(y1, y2), (0, 1, 3, 2)), (BLOCK_M, BLOCK_N))
        if HEADS_PER_TILE == 1:
            out.store([start_m, start_n], heads)
        else:
            left, right = split_n(heads, BLOCK_M, BLOCK_N)  # [BLOCK_M, HEAD_DIM]
            out.store([start_m, start_n], left)
            out.store([start_m, start_n + HEAD_DIM], right)
