"""QKV projection of a normalised float32 input, per-head Q/K RMSNorm, then RoPE for Q and K: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.rope import rmsnorm_halves, rotate_halves

IN_INTERPRETER = tl.constexpr(INTERPRETED)


@triton.jit
def _qkv_rope(
    x_ptr,
    weight_ptr,
    bias_ptr,
    cos_sin_ptr,
    positions_ptr,
    q_norm_ptr,
    k_norm_ptr,
    out_ptr,
    num_tokens,
    width,
    max_positions,
    x_stride,
    weight_stride,
    eps,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, HALF)
    row_mask = rows < num_tokens
    dim_mask = dims < HEAD_DIM // 2
    first = (head * HEAD_DIM + dims).to(tl.int64)  # rows of the weight that make the first half of this head
    second = first + HEAD_DIM // 2
    acc1 = tl.zeros([BLOCK_M, HALF], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_M, HALF], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < width
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        x = x.to(weight_ptr.dtype.element_ty)
        mask = k_mask[:, None] & dim_mask[None, :]
        w1 = tl.load(weight_ptr + first[None, :] * weight_stride + k[:, None], mask=mask, other=0.0)
        w2 = tl.load(weight_ptr + second[None, :] * weight_stride + k[:, None], mask=mask, other=0.0)
        acc1 = tl.dot(x, w1, acc1, input_precision="ieee")
        acc2 = tl.dot(x, w2, acc2, input_precision="ieee")
    if HAS_BIAS:
        acc1 += tl.load(bias_ptr + first, mask=dim_mask, other=0.0).to(tl.float32)[None, :]
        acc2 += tl.load(bias_ptr + second, mask=dim_mask, other=0.0).to(tl.float32)[None, :]
    if head < NUM_HEADS + NUM_KV_HEADS:
        if HAS_NORM:
            norm_ptr = k_norm_ptr
            if head < NUM_HEADS:
                norm_ptr = q_norm_ptr
            acc1, acc2 = rmsnorm_halves(acc1, acc2, norm_ptr, dims, dim_mask, eps, HEAD_DIM)
        positions = tl.load(positions_ptr + rows, mask=row_mask, other=0).to(tl.int64)
        acc1, acc2 = rotate_halves(
            acc1, acc2, cos_sin_ptr, positions, row_mask, max_positions, dims, dim_mask, HEAD_DIM
        )
    out_mask = row_mask[:, None] & dim_mask[None, :]
    offsets = (rows[:, None] * tl.num_programs(1) + head) * HEAD_DIM + dims[None, :]
    tl.store(out_ptr + offsets, acc1.to(out_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out_ptr + offsets + HEAD_DIM // 2, acc2.to(out_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def _angles(row_ptr, known, HALF: tl.constexpr):
    """Cosines or sines [rows, HALF] from where each row's begin; NaN in rows that are not ``known``.

    A tl.load would read them as they lie in memory and exchange them through shared memory, which a fourth stage of the
    product wants; assembly leaves each pair with the thread that multiplies by it.
    """
    at = row_ptr[:, None] + 2 * tl.arange(0, HALF // 2)[None, :]
    if IN_INTERPRETER:
        even = tl.load(at, mask=known[:, None], other=float("nan"))
        odd = tl.load(at + 1, mask=known[:, None], other=float("nan"))
    else:
        even, odd = tl.inline_asm_elementwise(
            """{
            .reg .pred known;
            setp.ne.b32 known, $3, 0;
            mov.b32 $0, 0x7fc00000;
            mov.b32 $1, 0x7fc00000;
            @known ld.global.nc.v2.f32 {$0, $1}, [$2];
            }""",
            "=f,=f,l,r",
            [at.to(tl.int64), known.to(tl.int32)[:, None]],
            dtype=(tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    return tl.reshape(tl.join(even, odd), (row_ptr.shape[0], HALF))


@triton.jit
def _place(block, num_tokens, width, QK_WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a block: V's, which end soonest, come last, so that all programs have as many."""
    early = many.num_tiles(num_tokens, QK_WIDTH, BLOCK_M, BLOCK_N)
    is_v = block >= early
    block -= tl.where(is_v, early, 0)
    row, column = many.tile_origin(block, num_tokens, tl.where(is_v, width - QK_WIDTH, QK_WIDTH), BLOCK_M, BLOCK_N)
    return row, column + tl.where(is_v, QK_WIDTH, 0)


@triton.jit
def _qkv_rope_of_many(
    x,
    weight,
    bias_ptr,
    cos_sin_ptr,
    positions_ptr,
    q_norm_ptr,
    k_norm_ptr,
    out,
    num_tokens,
    width,
    length,
    max_positions,
    eps,
    Q_WIDTH: tl.constexpr,
    QK_WIDTH: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEADS_PER_TILE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,
):
    BLOCK_N: tl.constexpr = HEADS_PER_TILE * HEAD_DIM
    HALF: tl.constexpr = HEAD_DIM // 2
    dims = tl.arange(0, HALF)
    count = many.num_tiles(num_tokens, width, BLOCK_M, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = _place(block, num_tokens, width, QK_WIDTH, BLOCK_M, BLOCK_N)
        acc = many.gemm_mainloop(x, weight, row, column, length, BLOCK_M, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            acc += tl.load(bias_ptr + column + tl.arange(0, BLOCK_N)).to(tl.float32)[None, :]
        first, second = tl.split(tl.permute(tl.reshape(acc, (BLOCK_M, HEADS_PER_TILE, 2, HALF)), (0, 1, 3, 2)))
        left, right = first.to(out.dtype), second.to(out.dtype)
        if column < QK_WIDTH:  # a block's heads are all Q's, all K's or all V's
            rows = row + tl.arange(0, BLOCK_M)
            positions = tl.load(positions_ptr + rows, mask=rows < num_tokens, other=-1)
            known = (positions >= 0) & (positions < max_positions)
            angles = cos_sin_ptr + positions.to(tl.int32) * HEAD_DIM
            cos, sin = _angles(angles, known, HALF)[:, None, :], _angles(angles + HALF, known, HALF)[:, None, :]
            if HAS_NORM:
                inverse = 1.0 / tl.sqrt(tl.sum(first * first + second * second, axis=2) / HEAD_DIM + eps)
                norm_ptr = tl.where(column < Q_WIDTH, q_norm_ptr, k_norm_ptr)
                first *= tl.load(norm_ptr + dims).to(tl.float32)[None, None, :]
                second *= tl.load(norm_ptr + HALF + dims).to(tl.float32)[None, None, :]
            turned_first, turned_second = first * cos - second * sin, second * cos + first * sin
            if HAS_NORM:  # after the rotation: fewer numbers are held until there
                turned_first *= inverse[:, :, None]
                turned_second *= inverse[:, :, None]
            left, right = turned_first.to(out.dtype), turned_second.to(out.dtype)
        heads = tl.join(left, right)
        heads = tl.reshape(tl.permute(heads, (0, 1, 3, 2)), (BLOCK_M, BLOCK_N))
        if HEADS_PER_TILE == 1:
            out.store([row, column], heads)
        else:
            one, other = many.split_n(heads, BLOCK_M, BLOCK_N)
            out.store([row, column], one)
            out.store([row, column + HEAD_DIM], other)
