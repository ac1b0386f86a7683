"""The MLP's gate and up projections with SiLU, optionally with the RMSNorm before them: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.rms_norm import rmsnorm_block_k, rmsnorm_rstd


@triton.jit
def _silu_times(gate, up):
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def _gate_up_silu(
    x_ptr,
    weight_ptr,
    norm_ptr,
    out_ptr,
    num_tokens,
    width,
    length,
    x_stride,
    weight_stride,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    if HAS_NORM:
        block: tl.constexpr = rmsnorm_block_k(BLOCK_M, BLOCK_K)
        inverse = rmsnorm_rstd(x_ptr, rows, row_mask, x_stride, length, eps, BLOCK_M, block)
    gate = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    up = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start in range(0, length, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < length
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        if HAS_NORM:
            norm = tl.load(norm_ptr + k, mask=k_mask, other=0.0).to(tl.float32)
            x = (x.to(tl.float32) * inverse[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & column_mask[None, :]
        w_gate = tl.load(weight_ptr + columns[None, :] * weight_stride + k[:, None], mask=w_mask, other=0.0)
        w_up = tl.load(weight_ptr + (columns[None, :] + width) * weight_stride + k[:, None], mask=w_mask, other=0.0)
        gate = tl.dot(x, w_gate, gate, input_precision="ieee")
        up = tl.dot(x, w_up, up, input_precision="ieee")
    out = _silu_times(gate, up)
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _gate_up_silu_of_few(
    x_ptr,
    weight_ptr,
    norm_ptr,
    out_ptr,
    num_tokens,
    width,
    x_stride,
    weight_stride,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    HAS_NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    tokens = tl.arange(0, BLOCK_M).to(tl.int64)
    both = tl.arange(0, 2 * BLOCK_N)  # gate and up by turns
    of_both = (tl.program_id(0) * BLOCK_N + both // 2).to(tl.int64)
    weight = few.load_rows(
        weight_ptr, of_both + both % 2 * width, of_both < width, weight_stride, K, BLOCK_K, NUM_K_TILES
    )
    if HAS_NORM:
        norm = few.load_row(norm_ptr, K, BLOCK_K, NUM_K_TILES)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.load_rows(x_ptr, tokens, tokens < num_tokens, x_stride, K, BLOCK_K, NUM_K_TILES)
    if HAS_NORM:
        acc = few.rmsnorm_gemv_dot(x, norm, weight, eps, BLOCK_M, K, NUM_K_TILES)
    else:
        acc = few.gemv_dot(x, weight, BLOCK_M, NUM_K_TILES)
    gate, up = tl.split(tl.reshape(acc, [BLOCK_M, BLOCK_N, 2]))
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    out = _silu_times(gate, up).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], out, mask=mask)


@triton.jit
def _gate_up_silu_of_many(
    x,
    weight,
    out,
    num_tokens,
    width,
    length,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    count = many.num_tiles(num_tokens, width, BLOCK_M, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.tile_origin(block, num_tokens, width, BLOCK_M, BLOCK_N)
        tl.assume(length > 0)
        acc = tl.zeros([BLOCK_M, 2 * BLOCK_N], dtype=tl.float32)
        for start in range(0, length, BLOCK_K):
            both = tl.reshape(weight.load([0, column, start]), (2 * BLOCK_N, BLOCK_K))  # of gate, then of up
            acc = tl.dot(x.load([row, start]), both.T, acc)
        gate, up = many.split_n(acc, BLOCK_M, 2 * BLOCK_N)
        out.store([row, column], _silu_times(gate, up).to(out.dtype))
