"""RMSNorm fused with the QKV projection: the documents' old path, kept as a fallback: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.rms_norm import rmsnorm_tile_dot


@triton.jit
def _rms_norm_qkv(
    x_ptr,
    norm_ptr,
    weight_ptr,
    bias_ptr,
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
    HAS_BIAS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = rmsnorm_tile_dot(
        x_ptr,
        rows,
        row_mask,
        x_stride,
        norm_ptr,
        weight_ptr,
        columns,
        column_mask,
        weight_stride,
        length,
        eps,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _rms_norm_qkv_of_few(
    x_ptr,
    norm_ptr,
    weight_ptr,
    bias_ptr,
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
    HAS_BIAS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    tokens = tl.arange(0, BLOCK_M).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    column_mask = columns < width
    weight = few.load_rows(weight_ptr, columns, column_mask, weight_stride, K, BLOCK_K, NUM_K_TILES)
    norm = few.load_row(norm_ptr, K, BLOCK_K, NUM_K_TILES)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.load_rows(x_ptr, tokens, tokens < num_tokens, x_stride, K, BLOCK_K, NUM_K_TILES)
    acc = few.rmsnorm_gemv_dot(x, norm, weight, eps, BLOCK_M, K, NUM_K_TILES)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = (tokens < num_tokens)[:, None] & column_mask[None, :]
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _qkv_of_many(
    x,
    weight,
    bias_ptr,
    out,
    num_tokens,
    width,
    length,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    count = many.num_tiles(num_tokens, width, BLOCK_M, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.tile_origin(block, num_tokens, width, BLOCK_M, BLOCK_N)
        acc = many.gemm_mainloop(x, weight, row, column, length, BLOCK_M, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            columns = column + tl.arange(0, BLOCK_N)
            acc += tl.load(bias_ptr + columns, mask=columns < width, other=0.0).to(tl.float32)[None, :]
        left, right = many.split_n(acc, BLOCK_M, BLOCK_N)
        out.store([row, column], left.to(out.dtype))
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))
