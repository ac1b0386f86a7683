"""Causal grouped-query attention of many queries over contiguous K and V, with the softmax in float32.

The bound is derived in ``_attention``: score error, P rounded to v's dtype, P.V in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _attention_prefill(
    q_ptr, k_ptr, v_ptr, starts_ptr, out_ptr, num_tokens, q_start, scale_log2, q_stride, k_stride, v_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_S: tl.constexpr,
    PACKED: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    row = (tl.num_programs(1) - 1 - tl.program_id(1)) * BLOCK_T  # the longest rows first: none is left to the end
    kv_head = head // GROUP
    rows = row + tl.arange(0, BLOCK_T)
    row_mask = rows < num_tokens
    q = _heads(q_ptr, row, head, num_tokens, q_stride, HEAD_DIM, BLOCK_D, BLOCK_T, TILES)
    # Row i sees keys first_i <= j <= q_start + i; packed sequences differ in where they start.
    num_keys = q_start + num_tokens  # keys past them may hold anything
    last = q_start + rows
    first = tl.zeros([BLOCK_T], dtype=tl.int32)
    begin = 0
    whole = (q_start + row) // BLOCK_S * BLOCK_S  # the keys before it are seen by all rows
    if PACKED:
        first = tl.load(starts_ptr + rows, mask=row_mask, other=num_tokens).to(tl.int32)
        begin = tl.min(first, axis=0) // BLOCK_S * BLOCK_S
        whole = begin
    top = tl.full([BLOCK_T], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_T], dtype=tl.float32)
    acc = tl.zeros([BLOCK_T, BLOCK_D], dtype=tl.float32)
    for start in range(begin, whole, BLOCK_S):
        k = _heads(k_ptr, start, kv_head, num_keys, k_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        v = _heads(v_ptr, start, kv_head, num_keys, v_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        s = tl.dot(q, k.T, input_precision="ieee")
        acc, top, total = _attend(s, v, acc, top, total, scale_log2, PACKED)
    for start in range(whole, tl.minimum(num_keys, q_start + row + BLOCK_T), BLOCK_S):
        k = _heads(k_ptr, start, kv_head, num_keys, k_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        v = _heads(v_ptr, start, kv_head, num_keys, v_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        s = tl.dot(q, k.T, input_precision="ieee")
        keys = start + tl.arange(0, BLOCK_S)
        seen = (keys[None, :] <= last[:, None]) & (keys[None, :] >= first[:, None])
        acc, top, total = _attend(tl.where(seen, s, float("-inf")), v, acc, top, total, scale_log2, PACKED)
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    dims = tl.arange(0, BLOCK_D)
    offsets = rows.to(tl.int64)[:, None] * (tl.num_programs(0) * HEAD_DIM) + head * HEAD_DIM + dims[None, :]
    mask = row_mask[:, None] & (dims < HEAD_DIM)[None, :]
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _heads(
    source, row, head, num_rows, stride, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """One head of ROWS rows from ``row`` on, [ROWS, BLOCK_D]; zeros from ``num_rows`` on."""
    if TILES:
        block = tl.reshape(source.load([row, head, 0]), (ROWS, BLOCK_D))
    else:
        rows = (row + tl.arange(0, ROWS)).to(tl.int64)
        dims = tl.arange(0, BLOCK_D)
        mask = (rows < num_rows)[:, None] & (dims < HEAD_DIM)[None, :]
        block = tl.load(source + rows[:, None] * stride + head * HEAD_DIM + dims[None, :], mask=mask, other=0.0)
    return block


@triton.jit
def _attend(s, v, acc, top, total, scale_log2, PACKED: tl.constexpr):
    """The running softmax over one more block of scores; what a row does not see is -inf."""
    new_top = tl.maximum(top, tl.max(s, axis=1) * scale_log2)
    safe_top = new_top
    if PACKED:
        safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that has seen no key yet
    p = tl.exp2(s * scale_log2 - safe_top[:, None])
    shrink = tl.exp2(top - safe_top)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return acc, new_top, total * shrink + tl.sum(p, axis=1)
