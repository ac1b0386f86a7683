"""RMSNorm as the prologue of the QKV projection: four GEMMs, by the number of rows.

    out[m, n] = sum_k h[m, k] * weight[n, k] + bias[n]               h = rms_norm(x), x [M, K], weight [N, K]

N is (Hq + 2 * Hkv) * D: the rows of q, k and v stacked, so that out [M, N] is all three.

GEMV, ``rms_norm_qkv_gemv_kernel``, M = 1 and K <= 4096: weight-stationary (``common/gemv``). Grid (cdiv(N, BLOCK_N),).
A program keeps BLOCK_N whole rows of the weight, the norm's weight, x and acc in registers.
SLICED_K, ``rms_norm_qkv_sliced_k_kernel``, 2 <= M <= 16, K <= 1024 and a 16-bit weight: the same, each warp with a
slice of K (``common/sliced_k``); the warps' sums are added up through shared memory. Grid (cdiv(N, BLOCK_N),).
TILED, ``rms_norm_qkv_tiled_kernel``, any M: a tile [BLOCK_M, BLOCK_N] a program, through pointers, the norm computed
again by every program of a row of tiles. Grid (cdiv(N, BLOCK_N), cdiv(M, BLOCK_M)). acc stays in registers.
PERSISTENT, ``rms_norm_qkv_persistent_kernel``, M >= 17 where TMA can be used: Triton's tutorial 09 with grouped
ordering and TMA (``common/persistent_gemm``), after a kernel that writes h. Grid (CTAS_PER_SM * number of SMs,), at
most one program a tile.

HBM traffic: out once; weight once in GEMV and SLICED_K, else once per BLOCK_M rows, from the L2 cache where tiles of
rows run side by side; x once, and from the L2 cache for each further tile of N; PERSISTENT also h, written and read.
Cast points: h to the weight's dtype (in GEMV it stays float32), out to its dtype. The rest is float32 (no TF32).
Out of range: rows past M, columns past N and K are masked or outside the descriptors: neither read nor written.
Synchronisation (PDL): all let the next kernel start at once. GEMV and SLICED_K load both weights before they wait
for the upstream kernels, PERSISTENT prefetches a part of the weight into L2; all other loads come after the wait.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.gemv import load_row, load_rows, rmsnorm_gemv_dot
from braidcheck.kernels.common.persistent_gemm import gemm_mainloop, num_tiles, prefetch_rows, split_n, tile_origin
from braidcheck.kernels.common.rms_norm import rmsnorm_tile_dot
from braidcheck.kernels.common.sliced_k import load_tiles, rmsnorm_slices, sum_slices, tiles_dot


@triton.jit
def rms_norm_qkv_tiled_kernel(
    # pointers
    x_ptr,  # [M, K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    bias_ptr,  # [N]
    out_ptr,  # [M, N]
    # sizes
    M,
    N,
    K,
    # strides
    stride_xm,
    stride_wn,
    # scalars
    eps,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
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
    acc = rmsnorm_tile_dot(
        x_ptr,
        offs_m,
        m_mask,
        stride_xm,
        norm_weight_ptr,
        weight_ptr,
        offs_n,
        n_mask,
        stride_wn,
        K,
        eps,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    if HAS_BIAS:
        acc += tl.load(bias_ptr + offs_n, mask=n_mask, other=0.0).to(tl.float32)[None, :]  # [1, BLOCK_N]
    mask = m_mask[:, None] & n_mask[None, :]
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def rms_norm_qkv_gemv_kernel(
    # pointers
    x_ptr,  # [K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    bias_ptr,  # [N]
    out_ptr,  # [N]
    # sizes
    N,
    # strides
    stride_wn,
    # scalars
    eps,
    # meta
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of one row of out."""
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    n_mask = offs_n < N
    weight = load_rows(weight_ptr, offs_n, n_mask, stride_wn, K, BLOCK_K, NUM_K_TILES)  # [BLOCK_N, BLOCK_K] each
    norm_weight = load_row(norm_weight_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_row(x_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    acc = rmsnorm_gemv_dot(x, norm_weight, weight, eps, K, NUM_K_TILES)  # [1, BLOCK_N]
    if HAS_BIAS:
        acc += tl.load(bias_ptr + offs_n, mask=n_mask, other=0.0).to(tl.float32)[None, :]  # [1, BLOCK_N]
    tl.store(out_ptr + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=n_mask[None, :])


@triton.jit
def rms_norm_qkv_sliced_k_kernel(
    # pointers
    x_ptr,  # [M, K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    bias_ptr,  # [N]
    out_ptr,  # [M, N]
    # sizes
    M,
    N,
    # strides
    stride_xm,
    stride_wn,
    # scalars
    eps,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of out for all M <= BLOCK_M rows."""
    start_n = tl.program_id(0) * BLOCK_N
    # [NUM_SLICES, BLOCK_N, BLOCK_K] each, and [NUM_SLICES, BLOCK_M, BLOCK_K]
    weight = load_tiles(weight_ptr, start_n, N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    norm_weight = load_tiles(norm_weight_ptr, 0, BLOCK_M, 0, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_tiles(x_ptr, 0, M, stride_xm, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    h = rmsnorm_slices(x, norm_weight, weight[0].dtype, eps, K, NUM_K_TILES)
    acc = sum_slices(tiles_dot(h, weight, NUM_K_TILES), NUM_SLICES)  # [BLOCK_M, BLOCK_N]
    offs_m = tl.arange(0, BLOCK_M).to(tl.int64)
    offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + offs_n, mask=offs_n < N, other=0.0).to(tl.float32)[None, :]  # [1, BLOCK_N]
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def rms_norm_qkv_persistent_kernel(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]; normalised
    weight,  # [N, K], tiles [BLOCK_N, BLOCK_K]
    # pointers
    weight_ptr,  # [N, K], for the prefetch
    bias_ptr,  # [N]
    # tensor descriptors
    out,  # [M, N], tiles [BLOCK_M, BLOCK_N // 2]
    # sizes
    M,
    N,
    K,
    # strides
    stride_wn,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PREFETCH_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """The tiles pid, pid + grid size, ... of out, M >= 17."""
    pdl.launch_dependents(USE_PDL)
    _, first_n = tile_origin(tl.program_id(0), M, N, BLOCK_M, BLOCK_N)
    prefetch_rows(weight_ptr, first_n, N, K, stride_wn, BLOCK_N, PREFETCH_K, USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    tiles = num_tiles(M, N, BLOCK_M, BLOCK_N)
    for tile_id in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        start_m, start_n = tile_origin(tile_id, M, N, BLOCK_M, BLOCK_N)
        acc = gemm_mainloop(x, weight, start_m, start_n, K, BLOCK_M, BLOCK_N, BLOCK_K)  # [BLOCK_M, BLOCK_N]
        if HAS_BIAS:
            offs_n = start_n + tl.arange(0, BLOCK_N)
            acc += tl.load(bias_ptr + offs_n, mask=offs_n < N, other=0.0).to(tl.float32)[None, :]  # [1, BLOCK_N]
        # epilogue, by halves [BLOCK_M, BLOCK_N // 2]
        left, right = split_n(acc, BLOCK_M, BLOCK_N)
        out.store([start_m, start_n], left.to(out.dtype))
        out.store([start_m, start_n + BLOCK_N // 2], right.to(out.dtype))
