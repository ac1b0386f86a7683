"""Split-KV decode attention: Flash-Decoding (Dao, Haziza, Massa, Sizov 2023) in two launches.

    out[b, h] = softmax(scale * q[b, h] . K[b, :n].T) V[b, :n]        n = min(lengths[b], S), K and V of h's KV head

Launch 1, ``attention_decode_split_kernel``, grid (B, Hkv, num_splits). A program takes the Hq / Hkv query heads of one
KV head as the M of its products (padded to 16, a tensor core's least), and walks ``keys_per_split`` keys in tiles of
BLOCK_N with the online softmax of FlashAttention-2. q, m_i, l_i and acc stay in registers.
Launch 2, ``attention_decode_combine_kernel``, grid (B * Hq,). A program combines all splits of one query head.

HBM traffic: K and V once; 4 * (D + 2) bytes a query head and split, written and read; q and out.
Cast points: P to v's dtype before P.V, out to q's dtype. Products, m_i, l_i and acc are float32 (no TF32).
Out of range: keys at and past n are masked and not read; a row with n <= 0 gives zeros; a length past S stops at S.
Synchronisation: none within a launch; the second launch follows the first on the stream.
Determinism: num_splits depends on S alone, so that a row's bits do not depend on its neighbours.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common.softmax import combine_splits, finite_max, online_softmax_update, softmax_denominator


@triton.jit
def attention_decode_split_kernel(
    # pointers
    q_ptr,  # [B, Hq, D]
    k_cache_ptr,  # [B, S, Hkv, D]
    v_cache_ptr,  # [B, S, Hkv, D]
    lengths_ptr,  # [B]
    partial_out_ptr,  # [B, Hq, num_splits, D] float32
    m_ptr,  # [B, Hq, num_splits] float32
    l_ptr,  # [B, Hq, num_splits] float32
    # sizes
    cache_len,
    keys_per_split,
    qk_scale,
    # strides
    stride_qb,
    stride_kb,
    stride_vb,
    # meta
    NUM_KV_HEADS: tl.constexpr,
    GQA_GROUP_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """acc, m_i and l_i of the query heads of one KV head over one split of one row's keys."""
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split_id = tl.program_id(2)
    offs_m = tl.arange(0, BLOCK_M)
    offs_d = tl.arange(0, BLOCK_D)
    d_mask = offs_d < HEAD_DIM
    q_mask = (offs_m < GQA_GROUP_SIZE)[:, None] & d_mask[None, :]  # [BLOCK_M, BLOCK_D]
    heads = kv_head * GQA_GROUP_SIZE + offs_m
    # [BLOCK_M, BLOCK_D]
    q = tl.load(q_ptr + row * stride_qb + heads[:, None] * HEAD_DIM + offs_d[None, :], mask=q_mask, other=0.0)
    length = tl.load(lengths_ptr + row).to(tl.int64)
    context_len = tl.maximum(tl.minimum(length, cache_len), 0).to(tl.int32)  # an int64 is clamped before it is narrowed
    start_split = split_id * keys_per_split
    end_split = tl.minimum(context_len, start_split + keys_per_split)
    m_i = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    l_i = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    for start_n in range(start_split, end_split, BLOCK_N):
        offs_n = (start_n + tl.arange(0, BLOCK_N)).to(tl.int64)
        kv_mask = offs_n < end_split  # slots past the length may hold anything, NaN included
        kv_offsets = (offs_n * NUM_KV_HEADS + kv_head) * HEAD_DIM
        k_mask = kv_mask[None, :] & d_mask[:, None]
        # [BLOCK_D, BLOCK_N]
        k = tl.load(k_cache_ptr + row * stride_kb + kv_offsets[None, :] + offs_d[:, None], mask=k_mask, other=0.0)
        qk = tl.where(kv_mask[None, :], tl.dot(q, k, input_precision="ieee") * qk_scale, float("-inf"))
        p, alpha, m_i = online_softmax_update(qk, m_i, 1.0, GUARD=False)  # every tile has a key
        l_i = l_i * alpha + tl.sum(p, axis=1)
        v_mask = kv_mask[:, None] & d_mask[None, :]
        # [BLOCK_N, BLOCK_D]
        v = tl.load(v_cache_ptr + row * stride_vb + kv_offsets[:, None] + offs_d[None, :], mask=v_mask, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision="ieee")  # [BLOCK_M, BLOCK_D]
    partial = (row * NUM_KV_HEADS * GQA_GROUP_SIZE + heads) * tl.num_programs(2) + split_id  # [BLOCK_M]
    tl.store(partial_out_ptr + partial[:, None] * HEAD_DIM + offs_d[None, :], acc, mask=q_mask)
    tl.store(m_ptr + partial, m_i, mask=offs_m < GQA_GROUP_SIZE)
    tl.store(l_ptr + partial, l_i, mask=offs_m < GQA_GROUP_SIZE)


@triton.jit
def attention_decode_combine_kernel(
    # pointers
    partial_out_ptr,  # [B * Hq, num_splits, D] float32
    m_ptr,  # [B * Hq, num_splits] float32
    l_ptr,  # [B * Hq, num_splits] float32
    out_ptr,  # [B * Hq, D]
    # sizes
    num_splits,
    # meta
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
):
    """The output of one query head from its splits."""
    query = tl.program_id(0).to(tl.int64)
    offs_s = tl.arange(0, BLOCK_SPLITS)
    offs_d = tl.arange(0, BLOCK_D)
    split_mask = offs_s < num_splits
    m_i = tl.load(m_ptr + query * num_splits + offs_s, mask=split_mask, other=float("-inf"))  # [BLOCK_SPLITS]
    l_i = tl.load(l_ptr + query * num_splits + offs_s, mask=split_mask, other=0.0)  # [BLOCK_SPLITS]
    weights = tl.exp2(m_i - finite_max(tl.max(m_i, axis=0)))  # [BLOCK_SPLITS]
    partial_mask = split_mask[:, None] & (offs_d < HEAD_DIM)[None, :]
    partial_ptrs = partial_out_ptr + (query * num_splits + offs_s)[:, None] * HEAD_DIM + offs_d[None, :]
    partial_out = tl.load(partial_ptrs, mask=partial_mask, other=0.0)  # [BLOCK_SPLITS, BLOCK_D]
    l_i = combine_splits(l_i, weights, AXIS=0)  # []
    acc = combine_splits(partial_out, weights[:, None], AXIS=0)  # [BLOCK_D]
    out = acc / softmax_denominator(l_i)  # [BLOCK_D]
    tl.store(out_ptr + query * HEAD_DIM + offs_d, out.to(out_ptr.dtype.element_ty), mask=offs_d < HEAD_DIM)
