"""Grouped-query attention of one query a row over its KV cache, split over the context and then combined.

The bound is ``_attention``'s; combining the splits rescales partial sums by exponentials that the score error already
covers, and adds a few roundings of the value, counted with the sum's.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _attend_split(
    q_ptr, k_ptr, v_ptr, lengths_ptr, part_ptr, top_ptr, total_ptr, capacity, per_split, scale_log2, q_stride,
    k_batch_stride, v_batch_stride, NUM_KV_HEADS: tl.constexpr, GROUP: tl.constexpr, BLOCK_G: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    group = tl.arange(0, BLOCK_G)
    dims = tl.arange(0, BLOCK_D)
    dim_mask = dims < HEAD_DIM
    q_mask = (group < GROUP)[:, None] & dim_mask[None, :]
    heads = kv_head * GROUP + group
    q = tl.load(q_ptr + row * q_stride + heads[:, None] * HEAD_DIM + dims[None, :], mask=q_mask, other=0.0)
    length = tl.minimum(tl.load(lengths_ptr + row), capacity).to(tl.int32)
    begin = split * per_split
    end = tl.minimum(length, begin + per_split)
    top = tl.full([BLOCK_G], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_G], dtype=tl.float32)
    acc = tl.zeros([BLOCK_G, BLOCK_D], dtype=tl.float32)
    for start in range(begin, end, BLOCK_S):
        keys = (start + tl.arange(0, BLOCK_S)).to(tl.int64)
        key_mask = keys < end  # slots past the length may hold anything, NaN included
        offsets = (keys * NUM_KV_HEADS + kv_head) * HEAD_DIM
        k_mask = key_mask[None, :] & dim_mask[:, None]
        k = tl.load(k_ptr + row * k_batch_stride + offsets[None, :] + dims[:, None], mask=k_mask, other=0.0)
        s = tl.where(key_mask[None, :], tl.dot(q, k, input_precision="ieee") * scale_log2, float("-inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        p = tl.exp2(s - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(p, axis=1)
        v_mask = key_mask[:, None] & dim_mask[None, :]
        v = tl.load(v_ptr + row * v_batch_stride + offsets[:, None] + dims[None, :], mask=v_mask, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    slot = (row * NUM_KV_HEADS * GROUP + heads) * tl.num_programs(2) + split
    tl.store(part_ptr + slot[:, None] * HEAD_DIM + dims[None, :], acc, mask=q_mask)
    tl.store(top_ptr + slot, top, mask=group < GROUP)
    tl.store(total_ptr + slot, total, mask=group < GROUP)


@triton.jit
def _combine(
    part_ptr, top_ptr, total_ptr, out_ptr, num_splits, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    splits = tl.arange(0, SPLITS)
    dims = tl.arange(0, BLOCK_D)
    there = splits < num_splits
    tops = tl.load(top_ptr + row * num_splits + splits, mask=there, other=float("-inf"))
    totals = tl.load(total_ptr + row * num_splits + splits, mask=there, other=0.0)
    top = tl.max(tops, axis=0)
    weights = tl.exp2(tops - tl.where(top == float("-inf"), 0.0, top))  # 0 for an empty split, also of an empty row
    mask = there[:, None] & (dims < HEAD_DIM)[None, :]
    parts = tl.load(part_ptr + (row * num_splits + splits)[:, None] * HEAD_DIM + dims[None, :], mask=mask, other=0.0)
    total = tl.sum(totals * weights, axis=0)
    out = tl.sum(parts * weights[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out_ptr + row * HEAD_DIM + dims, out.to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)
