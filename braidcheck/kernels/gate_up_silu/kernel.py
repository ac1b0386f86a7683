"""SwiGLU (Shazeer 2020) fused with its projection, optionally with the RMSNorm before it: four GEMMs, by M.

    h = rms_norm(x) or x                                             x [M, K]
    gate, up = h @ weight[:N].T, h @ weight[N:].T                    weight [2 * N, K], gate stacked on up
    out = gate / (1 + exp(-gate)) * up                               out [M, N]

GEMV, ``gate_up_silu_gemv_kernel``, M = 1 and K <= 4096: weight-stationary (``common/gemv``). Grid (cdiv(N, BLOCK_N),).
A program keeps BLOCK_N rows of gate and of up, interleaved so that one product computes both and a thread holds each
pair; x, the norm's weight and acc stay in registers too.
SLICED_K, ``gate_up_silu_sliced_k_kernel``, 2 <= M <= 16, K <= 1024 and a 16-bit weight: the same, not interleaved, each
warp with a slice of K (``common/sliced_k``); the warps' sums are added up through shared memory. Grid (cdiv(N,
BLOCK_N),).
TILED, ``gate_up_silu_tiled_kernel``, any M: one tile [BLOCK_M, BLOCK_N] of gate and of up a program, through pointers.
Grid (cdiv(N, BLOCK_N), cdiv(M, BLOCK_M)). Both accumulators stay in registers.
PERSISTENT, ``gate_up_silu_persistent_kernel``, M >= 17 where TMA can be used: Triton's tutorial 09 with grouped
ordering and TMA (``common/persistent_gemm``). Grid (CTAS_PER_SM * number of SMs,), at most one program a tile. With a
norm a kernel of its own writes h first.

HBM traffic: out once; weight once in GEMV and SLICED_K, else once per BLOCK_M rows, from the L2 cache where tiles of
rows run side by side; x once, and from the L2 cache for each further tile of N; PERSISTENT with a norm also h, written
and read. gate and up never leave the registers.
Cast points: h to the weight's dtype (in GEMV it stays float32), out to its dtype. The rest is float32 (no TF32).
Out of range: rows past M, columns past N and K are masked or outside the descriptors: neither read nor written.
Synchronisation (PDL): all let the next kernel start at once. GEMV and SLICED_K load both weights before they wait
for the upstream kernels, PERSISTENT prefetches a part of the weight into L2; all other loads come after the wait.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.gemv import gemv_dot, load_row, load_rows, rmsnorm_gemv_dot
from braidcheck.kernels.common.persistent_gemm import gemm_mainloop, num_tiles, prefetch_rows, split_n, tile_origin
from braidcheck.kernels.common.rms_norm import rmsnorm_block_k, rmsnorm_rstd
from braidcheck.kernels.common.sliced_k import load_tiles, rmsnorm_slices, sum_slices, tiles_dot


@triton.jit
def swiglu(gate, up):
    """silu(gate) * up, elementwise."""
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def gate_up_silu_tiled_kernel(
    # pointers
    x_ptr,  # [M, K]
    weight_ptr,  # [2 * N, K]
    norm_weight_ptr,  # [K]
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
    HAS_NORM: tl.constexpr,
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
    if HAS_NORM:
        NORM_BLOCK_K: tl.constexpr = rmsnorm_block_k(BLOCK_M, BLOCK_K)
        rstd = rmsnorm_rstd(x_ptr, offs_m, m_mask, stride_xm, K, eps, BLOCK_M, NORM_BLOCK_K)  # [BLOCK_M]
    gate = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    up = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        offs_k = start_k + tl.arange(0, BLOCK_K)
        k_mask = offs_k < K
        x_mask = m_mask[:, None] & k_mask[None, :]
        # [BLOCK_M, BLOCK_K]
        x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=x_mask, other=0.0)
        if HAS_NORM:
            norm_weight = tl.load(norm_weight_ptr + offs_k, mask=k_mask, other=0.0).to(tl.float32)  # [BLOCK_K]
            x = (x.to(tl.float32) * rstd[:, None] * norm_weight[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & n_mask[None, :]
        # [BLOCK_K, BLOCK_N]
        w_gate = tl.load(weight_ptr + offs_n[None, :] * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        w_up = tl.load(weight_ptr + (offs_n[None, :] + N) * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        gate = tl.dot(x, w_gate, gate, input_precision="ieee")
        up = tl.dot(x, w_up, up, input_precision="ieee")
    out = swiglu(gate, up)  # [BLOCK_M, BLOCK_N]
    mask = m_mask[:, None] & n_mask[None, :]
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def gate_up_silu_gemv_kernel(
    # pointers
    x_ptr,  # [K]
    weight_ptr,  # [2 * N, K]
    norm_weight_ptr,  # [K]
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
    HAS_NORM: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of one row of out."""
    offs_w = tl.arange(0, 2 * BLOCK_N)  # rows of the weight: gate's even, up's odd
    offs_w_n = (tl.program_id(0) * BLOCK_N + offs_w // 2).to(tl.int64)
    # [2 * BLOCK_N, BLOCK_K] each
    weight = load_rows(weight_ptr, offs_w_n + offs_w % 2 * N, offs_w_n < N, stride_wn, K, BLOCK_K, NUM_K_TILES)
    if HAS_NORM:
        norm_weight = load_row(norm_weight_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_row(x_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    if HAS_NORM:
        acc = rmsnorm_gemv_dot(x, norm_weight, weight, eps, K, NUM_K_TILES)  # [1, 2 * BLOCK_N]
    else:
        acc = gemv_dot(x, weight, NUM_K_TILES)  # [1, 2 * BLOCK_N]
    gate, up = tl.split(tl.reshape(acc, [1, BLOCK_N, 2]))  # [1, BLOCK_N]
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    tl.store(out_ptr + offs_n, swiglu(gate, up).to(out_ptr.dtype.element_ty), mask=offs_n < N)


@triton.jit
def gate_up_silu_sliced_k_kernel(
    # pointers
    x_ptr,  # [M, K]
    weight_ptr,  # [2 * N, K]
    norm_weight_ptr,  # [K]
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
    HAS_NORM: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """BLOCK_N columns of out for all M <= BLOCK_M rows."""
    start_n = tl.program_id(0) * BLOCK_N
    # [NUM_SLICES, BLOCK_N, BLOCK_K] each, and [NUM_SLICES, BLOCK_M, BLOCK_K]
    w_gate = load_tiles(weight_ptr, start_n, N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    w_up = load_tiles(weight_ptr, N + start_n, 2 * N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    if HAS_NORM:
        norm_weight = load_tiles(norm_weight_ptr, 0, BLOCK_M, 0, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    h = load_tiles(x_ptr, 0, M, stride_xm, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    if HAS_NORM:
        h = rmsnorm_slices(h, norm_weight, w_gate[0].dtype, eps, K, NUM_K_TILES)
    gate = sum_slices(tiles_dot(h, w_gate, NUM_K_TILES), NUM_SLICES)  # [BLOCK_M, BLOCK_N]
    up = sum_slices(tiles_dot(h, w_up, NUM_K_TILES), NUM_SLICES)  # [BLOCK_M, BLOCK_N]
    offs_m = tl.arange(0, BLOCK_M).to(tl.int64)
    offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    out = swiglu(gate, up).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], out, mask=mask)


@triton.jit
def gate_up_silu_persistent_kernel(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]; normalised
    weight,  # [2, N, K], tiles [2, BLOCK_N, BLOCK_K]
    out,  # [M, N], tiles [BLOCK_M, BLOCK_N]
    # pointers
    weight_ptr,  # [2 * N, K], for the prefetch
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
    USE_PDL: tl.constexpr,
):
    """The tiles pid, pid + grid size, ... of out, M >= 17."""
    pdl.launch_dependents(USE_PDL)
    _, first_n = tile_origin(tl.program_id(0), M, N, BLOCK_M, BLOCK_N)
    prefetch_rows(weight_ptr, first_n, N, K, stride_wn, BLOCK_N, PREFETCH_K, USE_PDL)  # of gate
    prefetch_rows(weight_ptr, N + first_n, 2 * N, K, stride_wn, BLOCK_N, PREFETCH_K, USE_PDL)  # of up
    pdl.grid_dependency_wait(USE_PDL)
    tiles = num_tiles(M, N, BLOCK_M, BLOCK_N)
    for tile_id in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        start_m, start_n = tile_origin(tile_id, M, N, BLOCK_M, BLOCK_N)
        # [BLOCK_M, 2 * BLOCK_N]
        acc = gemm_mainloop(x, weight, start_m, start_n, K, BLOCK_M, 2 * BLOCK_N, BLOCK_K, STACKED=True)
        gate, up = split_n(acc, BLOCK_M, 2 * BLOCK_N)  # [BLOCK_M, BLOCK_N]
        out.store([start_m, start_n], swiglu(gate, up).to(out.dtype))
