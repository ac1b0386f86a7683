"""Final RMSNorm, projection to the vocabulary, and optionally a split argmax that never stores the logits.

    logits[m, n] = sum_k h[m, k] * weight[n, k]                      h = rms_norm(x), x [M, K], weight [N, K], N tokens
    token[m] = min { n : logits[m, n] = max logits[m] }              with ARGMAX; NaN counts as the maximum

GEMV, ``lm_head_gemv_kernel``, M = 1 and K <= 4096: weight-stationary (``common/gemv``), persistent. Grid (min(NUM_CTAS,
cdiv(N, BLOCK_N)),). A program walks blocks of BLOCK_N rows of the weight, a grid apart, and loads the next block before
it multiplies the current one. Both, the norm's weight, x, and with ARGMAX each column's running maximum stay in
registers.
SLICED_K, ``lm_head_sliced_k_kernel``, on a GPU class it was tuned for, 2 <= M <= 16, K <= 1024 and a 16-bit weight: the
same, each warp with a slice of K (``common/sliced_k``); the warps' sums are added up through shared memory.
TILED, ``lm_head_tiled_kernel``, any M: a tile [BLOCK_M, BLOCK_N] a program, through pointers, the norm computed again
by every program of a row of tiles. Grid (cdiv(N, BLOCK_N), cdiv(M, BLOCK_M)).
Split argmax: with ARGMAX a program stores the maximum of its part of the vocabulary and the lowest token that has it,
[M, num_splits] each; ``lm_head_argmax_kernel``, grid (M,), reduces them in one block.

HBM traffic: weight once in GEMV and SLICED_K, once per BLOCK_M rows in TILED; logits once, or with ARGMAX 8 bytes a row
and split, written and read.
Cast points: h to the weight's dtype (in GEMV it stays float32). Logits are float32, never rounded (no TF32).
Out of range: rows past M, columns past N and K are masked: neither read nor written, and -inf in the argmax.
Synchronisation (PDL): the next kernel may start at once. GEMV and SLICED_K load both weights before they wait for
the upstream kernels, TILED waits before all loads. The argmax follows on the stream.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.gemv import gemv_dot, load_row, load_rows, rmsnorm_tiles
from braidcheck.kernels.common.rms_norm import rmsnorm_tile_dot
from braidcheck.kernels.common.sliced_k import load_tiles, rmsnorm_slices, sum_slices, tiles_dot

NO_TOKEN = tl.constexpr(2147483647)


@triton.jit
def nan_as_inf(logits):
    """A NaN counts as the maximum, as in torch: it never leads to a token outside the vocabulary."""
    return tl.where(logits == logits, logits, float("inf"))


@triton.jit
def lm_head_tiled_kernel(
    # pointers
    x_ptr,  # [M, K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    out_ptr,  # logits [M, N], with ARGMAX maxima [M, num_splits]: float32
    best_ptr,  # with ARGMAX tokens [M, num_splits]: int32
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
    ARGMAX: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """One tile of the logits, or its rows' maxima and their tokens, any M."""
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
    if ARGMAX:
        acc = tl.where(n_mask[None, :], nan_as_inf(acc), float("-inf"))
        offs_split = offs_m * tl.num_programs(0) + pid_n  # [BLOCK_M]
        tl.store(out_ptr + offs_split, tl.max(acc, axis=1), mask=m_mask)
        best_token = pid_n * BLOCK_N + tl.argmax(acc, axis=1)  # [BLOCK_M]
        tl.store(best_ptr + offs_split, best_token, mask=m_mask)
    else:
        mask = m_mask[:, None] & n_mask[None, :]
        tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], acc, mask=mask)


@triton.jit
def lm_head_gemv_kernel(
    # pointers
    x_ptr,  # [K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    out_ptr,  # logits [N], with ARGMAX maxima [num_splits]: float32
    best_ptr,  # with ARGMAX tokens [num_splits]: int32
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
    ARGMAX: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """Every num_programs-th block of BLOCK_N logits of one row, or their maximum and its token."""
    step_n = tl.num_programs(0) * BLOCK_N
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    weight = load_rows(weight_ptr, offs_n, offs_n < N, stride_wn, K, BLOCK_K, NUM_K_TILES)  # [BLOCK_N, BLOCK_K] each
    norm_weight = load_row(norm_weight_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_row(x_ptr, K, BLOCK_K, NUM_K_TILES)  # [1, BLOCK_K] each
    h, rstd = rmsnorm_tiles(x, norm_weight, eps, K, NUM_K_TILES)
    column_max = tl.full([1, BLOCK_N], float("-inf"), dtype=tl.float32)  # each column's maximum so far
    best_token = tl.full([1, BLOCK_N], NO_TOKEN, dtype=tl.int32)
    for start_n in range(tl.program_id(0) * BLOCK_N, N, step_n):
        offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
        next_n = offs_n + step_n
        # software pipelining: the next block's loads are in flight during this block's product
        next_weight = load_rows(weight_ptr, next_n, next_n < N, stride_wn, K, BLOCK_K, NUM_K_TILES)
        acc = gemv_dot(h, weight, NUM_K_TILES) * rstd  # [1, BLOCK_N]
        weight = next_weight
        if ARGMAX:
            column_max, best_token = higher_logits(acc, offs_n[None, :], N, column_max, best_token)
        else:
            tl.store(out_ptr + offs_n[None, :], acc, mask=(offs_n < N)[None, :])
    if ARGMAX:
        row_max = tl.max(column_max, axis=1)  # [1]
        lowest = tl.min(tl.where(column_max == row_max[:, None], best_token, NO_TOKEN), axis=1)  # [1]
        split = tl.program_id(0) + tl.arange(0, 1)
        tl.store(out_ptr + split, row_max)
        tl.store(best_ptr + split, lowest)


@triton.jit
def lm_head_sliced_k_kernel(
    # pointers
    x_ptr,  # [M, K]
    norm_weight_ptr,  # [K]
    weight_ptr,  # [N, K]
    out_ptr,  # logits [M, N], with ARGMAX maxima [M, num_splits]: float32
    best_ptr,  # with ARGMAX tokens [M, num_splits]: int32
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
    ARGMAX: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """Every num_programs-th block of BLOCK_N logits of M <= BLOCK_M rows, or their maximum and its token."""
    step_n = tl.num_programs(0) * BLOCK_N
    start = tl.program_id(0) * BLOCK_N
    # [NUM_SLICES, BLOCK_N, BLOCK_K] each, and [NUM_SLICES, BLOCK_M, BLOCK_K]
    weight = load_tiles(weight_ptr, start, N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    norm_weight = load_tiles(norm_weight_ptr, 0, BLOCK_M, 0, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    x = load_tiles(x_ptr, 0, M, stride_xm, BLOCK_M, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
    h = rmsnorm_slices(x, norm_weight, weight[0].dtype, eps, K, NUM_K_TILES)
    offs_m = tl.arange(0, BLOCK_M).to(tl.int64)
    column_max = tl.full([BLOCK_M, BLOCK_N], float("-inf"), dtype=tl.float32)  # each column's maximum so far
    best_token = tl.full([BLOCK_M, BLOCK_N], NO_TOKEN, dtype=tl.int32)
    for start_n in range(start, N, step_n):
        # software pipelining: the next block's loads are in flight during this block's product
        next_n = start_n + step_n
        next_weight = load_tiles(weight_ptr, next_n, N, stride_wn, BLOCK_N, K, BLOCK_K, NUM_SLICES, NUM_K_TILES)
        logits = sum_slices(tiles_dot(h, weight, NUM_K_TILES), NUM_SLICES)  # [BLOCK_M, BLOCK_N]
        weight = next_weight
        offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
        if ARGMAX:
            column_max, best_token = higher_logits(logits, offs_n[None, :], N, column_max, best_token)
        else:
            mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
            tl.store(out_ptr + offs_m[:, None] * N + offs_n[None, :], logits, mask=mask)
    if ARGMAX:
        row_max = tl.max(column_max, axis=1)  # [BLOCK_M]
        lowest = tl.min(tl.where(column_max == row_max[:, None], best_token, NO_TOKEN), axis=1)  # [BLOCK_M]
        offs_split = offs_m * tl.num_programs(0) + tl.program_id(0)  # [BLOCK_M]
        tl.store(out_ptr + offs_split, row_max, mask=offs_m < M)
        tl.store(best_ptr + offs_split, lowest, mask=offs_m < M)


@triton.jit
def higher_logits(logits, offs_n, N, column_max, best_token):
    """Take the logits of tokens ``offs_n`` into each column's maximum so far and the lowest token that has it."""
    logits = nan_as_inf(logits)
    higher = (offs_n < N) & ((logits > column_max) | (best_token == NO_TOKEN))
    return tl.where(higher, logits, column_max), tl.where(higher, offs_n.to(tl.int32), best_token)


@triton.jit
def lm_head_argmax_kernel(
    # pointers
    max_ptr,  # [M, num_splits] float32
    best_ptr,  # [M, num_splits] int32
    out_ptr,  # [M] int64
    # sizes
    num_splits,
    # meta
    BLOCK_SPLITS: tl.constexpr,
):
    """The token of one row's highest logit: of equal ones in several splits the lowest, as torch and HF have it."""
    row = tl.program_id(0).to(tl.int64)
    offs_s = tl.arange(0, BLOCK_SPLITS)
    split_mask = offs_s < num_splits
    maxima = tl.load(max_ptr + row * num_splits + offs_s, mask=split_mask, other=float("-inf"))  # [BLOCK_SPLITS]
    best_token = tl.load(best_ptr + row * num_splits + offs_s, mask=split_mask, other=NO_TOKEN)  # [BLOCK_SPLITS]
    token = tl.min(tl.where(maxima == tl.max(maxima, axis=0), best_token, NO_TOKEN), axis=0)
    tl.store(out_ptr + row, token.to(tl.int64))
