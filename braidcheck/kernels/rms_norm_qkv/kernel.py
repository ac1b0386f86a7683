"""RMSNorm fused with the QKV projection: the documents' old path, kept as a fallback: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.device import norm_and_project_rows


@triton.jit
def _rms_norm_qkv(
    x_ptr, norm_ptr, weight_ptr, bias_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = norm_and_project_rows(
        x_ptr, rows, row_mask, x_stride, norm_ptr, weight_ptr, columns, column_mask, weight_stride, length, eps,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _rms_norm_qkv_of_few(
    x_ptr, norm_ptr, weight_ptr, bias_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr,
    HAS_BIAS: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column_mask = columns < width
    weight = few.hold(weight_ptr, columns, column_mask, weight_stride, WIDTH, CHUNK, COUNT)
    norm = few.hold_row(norm_ptr, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    acc = few.project_normed(x, norm, weight, eps, BLOCK_T, WIDTH, COUNT)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = (tokens < num_tokens)[:, None] & column_mask[None, :]
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _qkv_of_many(
    x, weight, bias_ptr, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        acc = many.product(x, weight, row, column, length, BLOCK_T, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            columns = column + tl.arange(0, BLOCK_N)
            acc += tl.load(bias_ptr + columns, mask=columns < width, other=0.0).to(tl.float32)[None, :]
        left, right = many.halves(acc, BLOCK_T, BLOCK_N)
        out.store([row, column], left.to(out.dtype))
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))
