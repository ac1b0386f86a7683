"""Projection with the residual added in float32: output projection and down projection: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.rms_norm import tile_dot


@triton.jit
def _linear_residual(
    x_ptr,
    weight_ptr,
    residual_ptr,
    out_ptr,
    num_tokens,
    width,
    length,
    x_stride,
    weight_stride,
    residual_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = tile_dot(
        x_ptr,
        rows,
        row_mask,
        x_stride,
        weight_ptr,
        columns,
        column_mask,
        weight_stride,
        length,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    mask = row_mask[:, None] & column_mask[None, :]
    residual = tl.load(residual_ptr + rows[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_few(
    x_ptr,
    weight_ptr,
    residual_ptr,
    out_ptr,
    num_tokens,
    width,
    x_stride,
    weight_stride,
    residual_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    tokens = tl.arange(0, BLOCK_M).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    weight = few.load_rows(weight_ptr, columns, columns < width, weight_stride, K, BLOCK_K, NUM_K_TILES)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.load_rows(x_ptr, tokens, tokens < num_tokens, x_stride, K, BLOCK_K, NUM_K_TILES)
    acc = few.gemv_dot(x, weight, BLOCK_M, NUM_K_TILES)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    residual = tl.load(residual_ptr + tokens[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_many(
    x,
    weight,
    residual,
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
        acc = many.gemm_mainloop(x, weight, row, column, length, BLOCK_M, BLOCK_N, BLOCK_K)
        left, right = many.split_n(acc, BLOCK_M, BLOCK_N)
        left += residual.load([row, column]).to(tl.float32)
        out.store([row, column], left.to(out.dtype))
        right += residual.load([row, column + BLOCK_N // 2]).to(tl.float32)
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))
