"""One decode step of attention: head norm, RoPE, the new token's K and V into the cache, attention over the row.

A row's past is cut into splits by the row's own length, and finer where it is the only one: several rows fill the GPU
anyhow, and their results do not depend on each other. The split that holds the end takes the new token too and writes
it. The last split to end puts them together, in their order.

Bound: Q and K as in ``qk_norm_rope``, each rounded once to the cache's dtype (declared), V rounded once; then
attention with those errors in its operands (``_attention``).
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl as overlap


@triton.jit
def _attention_step(
    q_ptr, k_ptr, v_ptr, q_norm_ptr, k_norm_ptr, cos_sin_ptr, positions_ptr, k_cache_ptr, v_cache_ptr, out_ptr,
    part_ptr, top_ptr, total_ptr, arrivals_ptr, capacity, max_positions, eps, scale_log2, q_stride, k_stride, v_stride,
    k_batch_stride, v_batch_stride, NUM_KV_HEADS: tl.constexpr, GROUP: tl.constexpr, BLOCK_G: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
    LEAST: tl.constexpr, SPLITS: tl.constexpr, TOGETHER: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)  # not after the loads, which wait for the position
    kv_head = tl.program_id(0)
    split = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    position = tl.load(positions_ptr + row).to(tl.int64)
    known = (position >= 0) & (position < tl.minimum(capacity, max_positions))
    past = tl.where(known, position, 0).to(tl.int32)
    share = tl.cdiv(tl.cdiv(past, tl.num_programs(1)), BLOCK_S) * BLOCK_S
    per_split = tl.maximum(share, LEAST)
    live = tl.maximum(tl.cdiv(past, per_split), 1)
    first = split * per_split
    end = tl.minimum(past, first + per_split)
    lanes = tl.arange(0, BLOCK_S)
    dims = tl.arange(0, BLOCK_D)
    dim_mask = dims < HEAD_DIM
    k_cache_ptr += row * k_batch_stride + kv_head * HEAD_DIM
    v_cache_ptr += row * v_batch_stride + kv_head * HEAD_DIM
    # What the cache holds was written in earlier steps, so that it may be read before the kernel ahead has ended.
    k, v = _load(k_cache_ptr, v_cache_ptr, first + lanes, end, dims, dim_mask, NUM_KV_HEADS * HEAD_DIM)
    heads = tl.arange(0, BLOCK_R)  # a group's queries and, as one row more, the new key
    is_key = heads == GROUP
    mask = (heads <= GROUP)[:, None] & dim_mask[None, :]
    half: tl.constexpr = HEAD_DIM // 2
    other = tl.where(dims < half, dims + half, dims - half)  # the dimension that each is rotated with
    angle = cos_sin_ptr + tl.where(known, position, 0) * HEAD_DIM + dims % half
    cos = tl.load(angle, mask=known & dim_mask, other=float("nan"))
    sin = tl.load(angle + half, mask=known & dim_mask, other=float("nan"))
    weight = _either(is_key, k_norm_ptr, q_norm_ptr, dims, dim_mask, dim_mask[None, :]) * cos[None, :]
    other_weight = _either(is_key, k_norm_ptr, q_norm_ptr, other, dim_mask, dim_mask[None, :])
    other_weight *= tl.where(dims < half, -sin, sin)[None, :]
    overlap.wait(OVERLAP)
    if split >= live:
        return
    k_ptr += row * k_stride + kv_head * HEAD_DIM
    q_ptr += row * q_stride + (kv_head * GROUP + heads)[:, None] * HEAD_DIM
    x = _either(is_key, k_ptr, q_ptr, dims, dim_mask, mask & ~is_key[:, None])
    y = _either(is_key, k_ptr, q_ptr, other, dim_mask, mask & ~is_key[:, None])
    new_v = tl.load(v_ptr + row * v_stride + kv_head * HEAD_DIM + dims, mask=dim_mask, other=0.0).to(v.dtype)
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / HEAD_DIM + eps)
    turned = tl.where(mask, (x * weight + y * other_weight) * inverse[:, None], 0.0)
    new_k = tl.sum(tl.where(is_key[:, None], turned, 0.0), axis=0).to(k.dtype)
    q = tl.where(is_key[:, None], 0.0, turned).to(k.dtype)
    owner = split == live - 1
    if owner:
        slot = past * NUM_KV_HEADS * HEAD_DIM + dims
        tl.store(k_cache_ptr + slot, new_k, mask=dim_mask & known)
        tl.store(v_cache_ptr + slot, new_v, mask=dim_mask & known)
    # The new token is what the softmax of its split starts from.
    score = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], axis=1) * scale_log2
    # A tensor core wants 16 rows: each query is there as often as it takes.
    repeat: tl.constexpr = BLOCK_G // BLOCK_R
    q = tl.reshape(tl.broadcast_to(q[:, None, :], [BLOCK_R, repeat, BLOCK_D]), [BLOCK_G, BLOCK_D])
    score = tl.reshape(tl.broadcast_to(score[:, None], [BLOCK_R, repeat]), [BLOCK_G])
    top = tl.where(owner, score, float("-inf"))
    total = tl.where(owner, tl.full([BLOCK_G], 1.0, dtype=tl.float32), 0.0)
    acc = tl.where(owner, tl.zeros([BLOCK_G, 1], dtype=tl.float32) + new_v.to(tl.float32)[None, :], 0.0)
    top, total, acc = _attend(q, k, v, first + lanes < end, top, total, acc, scale_log2)
    for start in range(first + BLOCK_S, end, BLOCK_S):
        k, v = _load(k_cache_ptr, v_cache_ptr, start + lanes, end, dims, dim_mask, NUM_KV_HEADS * HEAD_DIM)
        top, total, acc = _attend(q, k, v, start + lanes < end, top, total, acc, scale_log2)
    head = row * NUM_KV_HEADS * GROUP + kv_head * GROUP
    rows = tl.arange(0, BLOCK_G)
    heads = rows // repeat
    is_query = (heads < GROUP) & (rows % repeat == 0)
    q_mask = is_query[:, None] & dim_mask[None, :]
    if live == 1:
        out = tl.where(known, acc / total[:, None], float("nan")).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + (head + heads)[:, None] * HEAD_DIM + dims[None, :], out, mask=q_mask)
        return
    part = (head + heads) * tl.num_programs(1) + split
    tl.store(part_ptr + part[:, None] * HEAD_DIM + dims[None, :], acc, mask=q_mask)
    tl.store(top_ptr + part, top, mask=is_query)
    tl.store(total_ptr + part, total, mask=is_query)
    tl.debug_barrier()  # all threads' parts are written before one of them says so
    arrivals_ptr += row * NUM_KV_HEADS + kv_head
    if tl.atomic_add(arrivals_ptr, 1, sem="acq_rel") == live - 1:
        tl.store(arrivals_ptr, 0)
        _put_together(
            part_ptr, top_ptr, total_ptr, out_ptr, head, live, dims, dim_mask, GROUP, BLOCK_H, HEAD_DIM, BLOCK_D,
            SPLITS, TOGETHER,
        )  # fmt: skip


@triton.jit
def _either(is_key, k_ptr, q_ptr, dims, dim_mask, q_mask):
    """The key's row where ``is_key`` and the queries' elsewhere, float32 [heads, dims]; what is masked is 0."""
    k = tl.load(k_ptr + dims, mask=dim_mask, other=0.0).to(tl.float32)
    q = tl.load(q_ptr + dims[None, :], mask=q_mask, other=0.0).to(tl.float32)
    return tl.where(is_key[:, None], k[None, :], q)


@triton.jit
def _load(k_ptr, v_ptr, slots, end, dims, dim_mask, STRIDE: tl.constexpr):
    """K[dims, slots] and V[slots, dims]; slots from ``end`` on may hold anything, NaN included."""
    there = slots < end
    k_mask, v_mask = dim_mask[:, None] & there[None, :], there[:, None] & dim_mask[None, :]
    k = tl.load(k_ptr + slots[None, :] * STRIDE + dims[:, None], mask=k_mask, other=0.0)
    v = tl.load(v_ptr + slots[:, None] * STRIDE + dims[None, :], mask=v_mask, other=0.0)
    return k, v


@triton.jit
def _attend(q, k, v, there, top, total, acc, scale_log2):
    """Take a block of slots into a running softmax: its top score, its sum, its weighted values."""
    s = tl.where(there[None, :], tl.dot(q, k, input_precision="ieee") * scale_log2, float("-inf"))
    new_top = tl.maximum(top, tl.max(s, axis=1))
    safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)  # of a row that has no past
    p = tl.exp2(s - safe_top[:, None])
    shrink = tl.exp2(top - safe_top)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return new_top, total * shrink + tl.sum(p, axis=1), acc


@triton.jit
def _put_together(
    part_ptr, top_ptr, total_ptr, out_ptr, head, live, dims, dim_mask, GROUP: tl.constexpr, BLOCK_H: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, SPLITS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """Weigh the parts of some heads by their shares of the softmax; other programs wrote them, past the L1 cache."""
    group = tl.arange(0, BLOCK_H)
    part = (head + group)[:, None] * tl.num_programs(1)
    is_head = (group < GROUP)[:, None]
    every = tl.arange(0, SPLITS)[None, :]
    tops = tl.load(top_ptr + part + every, mask=is_head & (every < live), other=float("-inf"), cache_modifier=".cg")
    top = tl.max(tops, axis=1)
    top = tl.where(top == float("-inf"), 0.0, top)[:, None]
    total = tl.zeros([BLOCK_H], dtype=tl.float32)
    acc = tl.zeros([BLOCK_H, BLOCK_D], dtype=tl.float32)
    for start in range(0, live, TOGETHER):
        some = start + tl.arange(0, TOGETHER)[None, :]
        there = is_head & (some < live)
        at = part_ptr + (part + some)[:, :, None] * HEAD_DIM + dims[None, None, :]
        parts = tl.load(at, mask=there[:, :, None] & dim_mask[None, None, :], other=0.0, cache_modifier=".cg")
        weights = tl.load(top_ptr + part + some, mask=there, other=float("-inf"), cache_modifier=".cg")
        weights = tl.exp2(weights - top)
        totals = tl.load(total_ptr + part + some, mask=there, other=0.0, cache_modifier=".cg")
        total += tl.sum(totals * weights, axis=1)
        acc += tl.sum(parts * weights[:, :, None], axis=1)
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    out_at = out_ptr + (head + group)[:, None] * HEAD_DIM + dims[None, :]
    tl.store(out_at, out.to(out_ptr.dtype.element_ty), mask=is_head & dim_mask[None, :])
