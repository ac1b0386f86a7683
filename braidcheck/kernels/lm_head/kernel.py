"""Final RMSNorm and the projection to the vocabulary, logits in float32: the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common.rms_norm import rmsnorm_tile_dot

NONE = tl.constexpr(2147483647)  # no token


@triton.jit
def _ranked(logits):
    """A NaN counts as the best, as torch has it; no NaN leads to a token outside the vocabulary."""
    return tl.where(logits == logits, logits, float("inf"))


@triton.jit
def _lm_head(
    x_ptr,
    norm_ptr,
    weight_ptr,
    out_ptr,
    best_ptr,
    num_tokens,
    vocab,
    length,
    x_stride,
    weight_stride,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    ARGMAX: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < vocab
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
    if ARGMAX:
        acc = tl.where(column_mask[None, :], _ranked(acc), float("-inf"))
        place = rows * tl.num_programs(0) + tl.program_id(0)
        tl.store(out_ptr + place, tl.max(acc, axis=1), mask=row_mask)
        best = tl.program_id(0) * BLOCK_N + tl.argmax(acc, axis=1)
        tl.store(best_ptr + place, best, mask=row_mask)
    else:
        mask = row_mask[:, None] & column_mask[None, :]
        tl.store(out_ptr + rows[:, None] * vocab + columns[None, :], acc, mask=mask)


@triton.jit
def _lm_head_of_few(
    x_ptr,
    norm_ptr,
    weight_ptr,
    out_ptr,
    best_ptr,
    num_tokens,
    vocab,
    x_stride,
    weight_stride,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
    ARGMAX: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    step = tl.num_programs(0) * BLOCK_N
    tokens = tl.arange(0, BLOCK_M).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    weight = few.load_rows(weight_ptr, columns, columns < vocab, weight_stride, K, BLOCK_K, NUM_K_TILES)
    norm = few.load_row(norm_ptr, K, BLOCK_K, NUM_K_TILES)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.load_rows(x_ptr, tokens, tokens < num_tokens, x_stride, K, BLOCK_K, NUM_K_TILES)
    pieces, scale = few.rmsnorm_tiles(x, norm, weight[0].dtype, eps, BLOCK_M, K, NUM_K_TILES)
    top = tl.full([BLOCK_M, BLOCK_N], float("-inf"), dtype=tl.float32)
    best = tl.full([BLOCK_M, BLOCK_N], NONE, dtype=tl.int32)
    for start in range(tl.program_id(0) * BLOCK_N, vocab, step):
        columns = (start + tl.arange(0, BLOCK_N)).to(tl.int64)
        # The rows after these are asked for before these are worked on.
        coming = few.load_rows(
            weight_ptr, columns + step, columns + step < vocab, weight_stride, K, BLOCK_K, NUM_K_TILES
        )
        acc = few.gemv_dot(pieces, weight, BLOCK_M, NUM_K_TILES) * scale
        weight = coming
        if ARGMAX:
            acc = _ranked(acc)
            higher = (columns < vocab)[None, :] & ((acc > top) | (best == NONE))
            top = tl.where(higher, acc, top)
            best = tl.where(higher, columns.to(tl.int32)[None, :], best)
        else:
            mask = (tokens < num_tokens)[:, None] & (columns < vocab)[None, :]
            tl.store(out_ptr + tokens[:, None] * vocab + columns[None, :], acc, mask=mask)
    if ARGMAX:
        highest = tl.max(top, axis=1)
        lowest = tl.min(tl.where(top == highest[:, None], best, NONE), axis=1)
        place = tokens * tl.num_programs(0) + tl.program_id(0)
        tl.store(out_ptr + place, highest, mask=tokens < num_tokens)
        tl.store(best_ptr + place, lowest, mask=tokens < num_tokens)


@triton.jit
def _best_block(top_ptr, best_ptr, out_ptr, num_blocks, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    blocks = tl.arange(0, BLOCK)
    there = blocks < num_blocks
    tops = tl.load(top_ptr + row * num_blocks + blocks, mask=there, other=float("-inf"))
    best = tl.load(best_ptr + row * num_blocks + blocks, mask=there, other=NONE)
    # Equal logits in several blocks: the lowest token wins, as torch and HF have it.
    token = tl.min(tl.where(tops == tl.max(tops, axis=0), best, NONE), axis=0)
    tl.store(out_ptr + row, token.to(tl.int64))
