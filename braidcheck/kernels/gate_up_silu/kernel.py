"""The MLP's gate and up projections with SiLU, optionally with the RMSNorm before them: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.device import inverse_rms, norm_block


@triton.jit
def _silu_times(gate, up):
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def _gate_up_silu(
    x_ptr, weight_ptr, norm_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, HAS_NORM: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    if HAS_NORM:
        block: tl.constexpr = norm_block(BLOCK_T, BLOCK_K)
        inverse = inverse_rms(x_ptr, rows, row_mask, x_stride, length, eps, BLOCK_T, block)
    gate = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    up = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
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
    x_ptr, weight_ptr, norm_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, eps, BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr, HAS_NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    both = tl.arange(0, 2 * ROWS)  # gate and up by turns
    of_both = (tl.program_id(0) * ROWS + both // 2).to(tl.int64)
    weight = few.hold(weight_ptr, of_both + both % 2 * width, of_both < width, weight_stride, WIDTH, CHUNK, COUNT)
    if HAS_NORM:
        norm = few.hold_row(norm_ptr, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    if HAS_NORM:
        acc = few.project_normed(x, norm, weight, eps, BLOCK_T, WIDTH, COUNT)
    else:
        acc = few.project(x, weight, BLOCK_T, COUNT)
    gate, up = tl.split(tl.reshape(acc, [BLOCK_T, ROWS, 2]))
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    out = _silu_times(gate, up).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], out, mask=mask)


@triton.jit
def _gate_up_silu_of_many(
    x, weight, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        tl.assume(length > 0)
        acc = tl.zeros([BLOCK_T, 2 * BLOCK_N], dtype=tl.float32)
        for start in range(0, length, BLOCK_K):
            both = tl.reshape(weight.load([0, column, start]), (2 * BLOCK_N, BLOCK_K))  # of gate, then of up
            acc = tl.dot(x.load([row, start]), both.T, acc)
        gate, up = many.halves(acc, BLOCK_T, 2 * BLOCK_N)
        out.store([row, column], _silu_times(gate, up).to(out.dtype))
