"""Projection with a residual epilogue: five GEMMs, by the sizes.

    out[m, n] = residual[m, n] + sum_k x[m, k] * weight[n, k]        x [M, K], weight [N, K], residual and out [M, N]

GEMV, ``linear_residual_gemv_kernel``, M = 1 and K <= 4096: weight-stationary (``common/gemv``). Grid (cdiv(N,
BLOCK_N),). A program keeps BLOCK_N whole rows of the weight, x and acc in registers.
SLICED_K, ``linear_residual_sliced_k_kernel``, 2 <= M <= 16, K <= 8192 and a 16-bit weight: each warp multiplies a slice
of K (``common/sliced_k``). Grid (cdiv(N, BLOCK_N),). A program keeps up to 3 tiles of K of BLOCK_N rows of the weight,
x and acc in registers; the warps' sums are added up through shared memory.
SPLIT_K, ``linear_residual_split_k_kernel``, M >= 17 where TMA can be used, M * N <= 2**18 and 1024 < K <= 8192, which
would be fewer tiles than multiprocessors: a program multiplies one part of K, ``linear_residual_reduce_kernel`` sums
the parts in their order, so that the bits are always the same. Grid (cdiv(N, BLOCK_N), cdiv(M, BLOCK_M), SPLIT_K).
TILED, ``linear_residual_tiled_kernel``, any M: a tile [BLOCK_M, BLOCK_N] a program, through pointers. Grid (cdiv(N,
BLOCK_N), cdiv(M, BLOCK_M)). acc stays in registers.
PERSISTENT, ``linear_residual_persistent_kernel``, M >= 17 where TMA can be used: Triton's tutorial 09 with grouped
ordering and TMA (``common/persistent_gemm``). Grid (CTAS_PER_SM * number of SMs,), at most one program a tile.

HBM traffic: residual and out once; weight once in GEMV and SLICED_K, else once per BLOCK_M rows, from the L2 cache
where tiles of rows run side by side; x once, and from the L2 cache for each further tile of N; SPLIT_K also 4 * SPLIT_K
bytes an output, written and read (L2).
Cast points: out to its dtype after the sum. Products, acc and the sum with the residual are float32 (no TF32).
Out of range: rows past M, columns past N and K are masked or outside the descriptors: neither read nor written.
Synchronisation (PDL): all let the next kernel start at once. GEMV and SLICED_K load the weight before they wait for the
upstream kernels, the others wait before all loads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.gemv import gemv_dot, load_row, load_rows
from braidcheck.kernels.common.persistent_gemm import gemm_mainloop, num_tiles, split_n, tile_origin
from braidcheck.kernels.common.rms_norm import tile_dot
from braidcheck.kernels.common.sliced_k import load_slices, load_tiles, slices_dot, sum_slices, tiles_dot


@triton.jit
def linear_residual_tiled_kernel(
    # pointers
    x_ptr,  # [M, K]
    weight_ptr,  # [N, K]
    residual_ptr,  # [M, N]
    out_ptr,  # [M, N]
    # sizes
    M,
    N,
    K,
    # strides
    stride_xm,
    stride_wn,
    stride_rm,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """One tile of out, any M."""
    pdl.launch_dependents(USE_PDL)
    pid_m = tl.program_id(1)
    offs_m = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    pid_n = tl.program_id(0)
    offs_n = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    m_mask = offs_m < M
    n_mask = offs_n < N
    pdl.grid_dependency_wait(USE_PDL)
    # [BLOCK_M, BLOCK_N]
    acc = tile_dot(
        x_ptr, offs_m, m_mask, stride_xm, weight_ptr, offs_n, n_mask, stride_wn, K, BLOCK_M, BLOCK_N, BLOCK_K
    )
    mask = m_mask[:, None] & n_mask[None, :]
    # [BLOCK_M, BLOCK_N]
    residual = tl.load(residual_ptr + offs_m[:, None] * stride_rm + offs_n[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def linear_residual_gemv_kernel(
    # pointers
    x_ptr,  # [K]
    weight_ptr,  # [N, K]
    residual_ptr,  # [N]
    out_ptr,  # [N]
    # sizes
    N,
    # strides
    stride_wn,
    # meta
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of one row of out."""
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    n_mask = offs_n < N
    weight = load_rows(weight_ptr, offs_n, n_mask, stride_wn, K, BLOCK_K, NUM_K_TILES)  # [BLOCK_N, BLOCK_K] each
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_row(x_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    # [1, BLOCK_N], loaded with x: behind the barrier of the product its latency would be exposed
    residual = tl.load(residual_ptr + offs_n[None, :], mask=n_mask[None, :], other=0.0)
    acc = gemv_dot(x, weight, NUM_K_TILES) + residual.to(tl.float32)  # [1, BLOCK_N]
    tl.store(out_ptr + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=n_mask[None, :])


@triton.jit
def linear_residual_sliced_k_kernel(
    # pointers
    x_ptr,  # [M, K]
    weight_ptr,  # [N, K]
    residual_ptr,  # [M, N]
    out_ptr,  # [M, N]
    # sizes
    M,
    N,
    # strides
    stride_xm,
    stride_wn,
    stride_rm,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    NUM_RESIDENT_TILES: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of out for all M <= BLOCK_M rows."""
    start_n = tl.program_id(0) * BLOCK_N
    # [NUM_SLICES, BLOCK_N, BLOCK_K] each
    weight = load_tiles(weight_ptr, start_n, N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_RESIDENT_TILES)
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    # [NUM_SLICES, BLOCK_M, BLOCK_K] each
    x = load_tiles(x_ptr, 0, M, stride_xm, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_RESIDENT_TILES)
    offs_m = tl.arange(0, BLOCK_M).to(tl.int64)
    offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    # [BLOCK_M, BLOCK_N], loaded with x: behind the barrier of the sum its latency would be exposed
    residual = tl.load(residual_ptr + offs_m[:, None] * stride_rm + offs_n[None, :], mask=mask, other=0.0)
    acc = tiles_dot(x, weight, NUM_RESIDENT_TILES)  # [NUM_SLICES, BLOCK_M, BLOCK_N]
    for tile in tl.range(NUM_RESIDENT_TILES, NUM_K_TILES, num_stages=1):  # to registers, not to shared memory
        next_weight = load_slices(weight_ptr, start_n, N, stride_wn, tile, BLOCK_N, K, BLOCK_K, NUM_SLICES)
        next_x = load_slices(x_ptr, 0, M, stride_xm, tile, BLOCK_M, K, BLOCK_K, NUM_SLICES)
        acc += slices_dot(next_x, next_weight)
    out = sum_slices(acc, NUM_SLICES) + residual.to(tl.float32)  # [BLOCK_M, BLOCK_N]
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def linear_residual_split_k_kernel(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]
    weight,  # [N, K], tiles [BLOCK_N, BLOCK_K]
    # pointers
    partial_ptr,  # [SPLIT_K, M, N] float32
    # sizes
    M,
    N,
    k_per_split,  # a multiple of BLOCK_K
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """One tile [BLOCK_M, BLOCK_N] of one part of K."""
    pdl.launch_dependents(USE_PDL)
    start_n = tl.program_id(0) * BLOCK_N
    start_m = tl.program_id(1) * BLOCK_M
    split_id = tl.program_id(2)
    pdl.grid_dependency_wait(USE_PDL)
    tl.assume(k_per_split > 0)
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start_k in range(split_id * k_per_split, (split_id + 1) * k_per_split, BLOCK_K):
        acc = tl.dot(x.load([start_m, start_k]), weight.load([start_n, start_k]).T, acc)
    offs_m = start_m + tl.arange(0, BLOCK_M)
    offs_n = start_n + tl.arange(0, BLOCK_N)
    partial_ptr += (split_id * M + offs_m)[:, None] * N + offs_n[None, :]  # [BLOCK_M, BLOCK_N]
    tl.store(partial_ptr, acc, mask=(offs_m < M)[:, None] & (offs_n < N)[None, :])


@triton.jit
def linear_residual_reduce_kernel(
    # pointers
    partial_ptr,  # [SPLIT_K, M, N] float32
    residual_ptr,  # [M, N]
    out_ptr,  # [M, N]
    # sizes
    M,
    N,
    # strides
    stride_rm,
    # meta
    BLOCK_N: tl.constexpr,
    SPLIT_K: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of a row of out: the parts of K in their order, then the residual. Grid (cdiv(N, BLOCK_N), M)."""
    pdl.launch_dependents(USE_PDL)
    row = tl.program_id(1).to(tl.int64)
    offs_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    n_mask = offs_n < N
    pdl.grid_dependency_wait(USE_PDL)
    acc = tl.zeros([BLOCK_N], dtype=tl.float32)
    for split_id in tl.static_range(SPLIT_K):
        acc += tl.load(partial_ptr + (split_id * M + row) * N + offs_n, mask=n_mask, other=0.0)  # [BLOCK_N]
    acc += tl.load(residual_ptr + row * stride_rm + offs_n, mask=n_mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * N + offs_n, acc.to(out_ptr.dtype.element_ty), mask=n_mask)


@triton.jit
def linear_residual_persistent_kernel(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]
    weight,  # [N, K], tiles [BLOCK_N, BLOCK_K]
    residual,  # [M, N], tiles [BLOCK_M, BLOCK_N // 2]
    out,  # [M, N], tiles [BLOCK_M, BLOCK_N // 2]
    # sizes
    M,
    N,
    K,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """The tiles pid, pid + grid size, ... of out, M >= 17."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    tiles = num_tiles(M, N, BLOCK_M, BLOCK_N)
    for tile_id in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        start_m, start_n = tile_origin(tile_id, M, N, BLOCK_M, BLOCK_N)
        acc = gemm_mainloop(x, weight, start_m, start_n, K, BLOCK_M, BLOCK_N, BLOCK_K)  # [BLOCK_M, BLOCK_N]
        # epilogue, by halves [BLOCK_M, BLOCK_N // 2]
        left, right = split_n(acc, BLOCK_M, BLOCK_N)
        left += residual.load([start_m, start_n]).to(tl.float32)
        out.store([start_m, start_n], left.to(out.dtype))
        right += residual.load([start_m, start_n + BLOCK_N // 2]).to(tl.float32)
        out.store([start_m, start_n + BLOCK_N // 2], right.to(out.dtype))
