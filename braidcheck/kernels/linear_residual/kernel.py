"""Projection with the residual added in float32: output projection and down projection: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.device import project_rows


@triton.jit
def _linear_residual(
    x_ptr, weight_ptr, residual_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, residual_stride,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = project_rows(
        x_ptr, rows, row_mask, x_stride, weight_ptr, columns, column_mask, weight_stride, length,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    mask = row_mask[:, None] & column_mask[None, :]
    residual = tl.load(residual_ptr + rows[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_few(
    x_ptr, weight_ptr, residual_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, residual_stride,
    BLOCK_T: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    weight = few.hold(weight_ptr, columns, columns < width, weight_stride, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    acc = few.project(x, weight, BLOCK_T, COUNT)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    residual = tl.load(residual_ptr + tokens[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_many(
    x, weight, residual, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        acc = many.product(x, weight, row, column, length, BLOCK_T, BLOCK_N, BLOCK_K)
        left, right = many.halves(acc, BLOCK_T, BLOCK_N)
        left += residual.load([row, column]).to(tl.float32)
        out.store([row, column], left.to(out.dtype))
        right += residual.load([row, column + BLOCK_N // 2]).to(tl.float32)
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))
