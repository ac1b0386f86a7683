"""Projection with a residual epilogue: three GEMMs, by the number of rows.

    out[m, n] = residual[m, n] + sum_k x[m, k] * weight[n, k]        x [M, K], weight [N, K], residual and out [M, N]

GEMV, ``linear_residual_gemv_kernel``, M = 1 and K <= 4096, or M <= 16, K <= 1024 and a 16-bit weight: weight-stationary
(``common/gemv``). Grid (cdiv(N, BLOCK_N),). A program keeps BLOCK_N whole rows of the weight, x and acc in registers.
TILED, ``linear_residual_tiled_kernel``, any M: a tile [BLOCK_M, BLOCK_N] a program, through pointers. Grid (cdiv(N,
BLOCK_N), cdiv(M, BLOCK_M)). acc stays in registers.
PERSISTENT, ``linear_residual_persistent_kernel``, M >= 17 where TMA can be used: Triton's tutorial 09 with grouped
ordering and TMA (``common/persistent_gemm``). Grid (CTAS_PER_SM * number of SMs,), at most one program a tile.

HBM traffic: residual and out once; weight once in GEMV, else once per BLOCK_M rows, from the L2 cache where tiles of
rows run side by side; x once, and from the L2 cache for each further tile of N.
Cast points: out to its dtype after the sum. Products, acc and the sum with the residual are float32 (no TF32).
Out of range: rows past M, columns past N and K are masked or outside the descriptors: neither read nor written.
Synchronisation (PDL): all let the next kernel start at once. GEMV loads the weight before it waits for the
upstream kernels, the others wait before all loads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.gemv import gemv_dot, load_rows
from braidcheck.kernels.common.persistent_gemm import gemm_mainloop, num_tiles, split_n, tile_origin
from braidcheck.kernels.common.rms_norm import tile_dot


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
    NUM_K_TILES: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of out for all M <= BLOCK_M rows."""
    offs_m = tl.arange(0, BLOCK_M).to(tl.int64)
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    weight = load_rows(weight_ptr, offs_n, offs_n < N, stride_wn, K, BLOCK_K, NUM_K_TILES)  # [BLOCK_N, BLOCK_K] each
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_rows(x_ptr, offs_m, offs_m < M, stride_xm, K, BLOCK_K, NUM_K_TILES)  # [BLOCK_M, BLOCK_K] each
    acc = gemv_dot(x, weight, BLOCK_M, NUM_K_TILES)  # [BLOCK_M, BLOCK_N]
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    # [BLOCK_M, BLOCK_N]
    residual = tl.load(residual_ptr + offs_m[:, None] * stride_rm + offs_n[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


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
