"""Fused decode attention: QK norm, RoPE, KV write and split-KV attention (Flash-Decoding) of one new token a row.

    q', k' = rope(rms_norm(q) * w_q), rope(rms_norm(k) * w_k)          at position n of the row
    K[n], V[n] = k', v
    out[b, h] = softmax(scale * q'[b, h] . K[b, :n + 1].T) V[b, :n + 1]

Flash-Decoding (Dao, Haziza, Massa, Sizov 2023) in one launch: the last block to finish reduces, as split-K GEMMs do.
Grid: (Hkv, max_splits, B). A row of n cached keys has cdiv(n, keys_per_split) active splits; the other programs end at
once. A program takes the Hq / Hkv query heads of one KV head and, as one row more, the new key; each row is repeated
until there are BLOCK_M, the M of its products. It walks its keys in tiles of BLOCK_N. q, m_i, l_i and acc stay in
registers. The last active split owns the new token: it writes k' and v and starts its softmax from them, so that
nothing is read back.
HBM traffic: K and V once; q, k, v and the norm weights once a program; with several splits 4 * (D + 2) bytes a query
head and split, written and read (L2); out.
Cast points: q' and k' to the cache's dtype, v to the cache's dtype, P to v's dtype, out to the cache's dtype. Norm,
RoPE, products, m_i, l_i and acc are float32 (no TF32).
Out of range: a position outside the cache or the RoPE table gives NaN and writes nothing; slots from n on may hold
anything and are not read.
Synchronisation: split_counter[b, kv_head] counts finished splits (atomic add, acquire and release, after a barrier).
The program that counts the last one combines all of them in their order, with loads that bypass L1 (.cg), and resets
the counter for the next step; so the bits do not depend on which split is last. PDL: the position, the first tile of
the cache, the norm weights and the RoPE row are read before the wait, for the upstream kernel writes none of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.softmax import combine_splits, finite_max, online_softmax_update, softmax_denominator
from braidcheck.kernels.decode_attention.new_token import norm_and_rotate, rope_weights, select_q_or_k


@triton.jit
def decode_attention_kernel(
    # pointers
    q_ptr,  # [B, Hq, D]
    k_ptr,  # [B, Hkv, D]
    v_ptr,  # [B, Hkv, D]
    q_norm_ptr,  # [D]
    k_norm_ptr,  # [D]
    cos_sin_ptr,  # [P, D] float32
    positions_ptr,  # [B]
    k_cache_ptr,  # [B, S, Hkv, D]
    v_cache_ptr,  # [B, S, Hkv, D]
    out_ptr,  # [B, Hq, D]
    partial_out_ptr,  # [B, Hq, max_splits, D] float32
    m_ptr,  # [B, Hq, max_splits] float32
    l_ptr,  # [B, Hq, max_splits] float32
    split_counter_ptr,  # [B, Hkv] int32
    # sizes
    cache_len,
    rope_len,
    eps,
    qk_scale,
    # strides
    stride_qb,
    stride_kb,
    stride_vb,
    stride_k_cache_b,
    stride_v_cache_b,
    # meta
    NUM_KV_HEADS: tl.constexpr,
    GQA_GROUP_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_QK: tl.constexpr,
    BLOCK_GQA: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    MIN_KEYS_PER_SPLIT: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
    COMBINE_BLOCK: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """One split of one row and KV head; the last split to finish combines all of them."""
    pdl.launch_dependents(USE_PDL)  # not after the loads, which wait for the position
    kv_head = tl.program_id(0)
    split_id = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    position = tl.load(positions_ptr + row).to(tl.int64)
    in_range = (position >= 0) & (position < tl.minimum(cache_len, rope_len))
    context_len = tl.where(in_range, position, 0).to(tl.int32)  # cached keys, without the new one
    num_active_splits, start_split, end_split = split_range(context_len, split_id, BLOCK_N, MIN_KEYS_PER_SPLIT)
    offs_n = tl.arange(0, BLOCK_N)
    offs_d = tl.arange(0, BLOCK_D)
    d_mask = offs_d < HEAD_DIM
    k_cache_ptr += row * stride_k_cache_b + kv_head * HEAD_DIM
    v_cache_ptr += row * stride_v_cache_b + kv_head * HEAD_DIM
    STRIDE_N: tl.constexpr = NUM_KV_HEADS * HEAD_DIM
    # Earlier steps wrote the cache, so that it may be read before the upstream kernel has ended.
    k, v = load_kv_tile(k_cache_ptr, v_cache_ptr, start_split + offs_n, end_split, offs_d, d_mask, STRIDE_N)
    offs_qk = tl.arange(0, BLOCK_QK)  # the group's queries and, as one row more, the new key
    is_key = offs_qk == GQA_GROUP_SIZE
    qk_mask = (offs_qk <= GQA_GROUP_SIZE)[:, None] & d_mask[None, :]  # [BLOCK_QK, BLOCK_D]
    half: tl.constexpr = HEAD_DIM // 2
    offs_pair = tl.where(offs_d < half, offs_d + half, offs_d - half)  # rotate-half pairs d and d + D / 2
    w_cos, w_sin = rope_weights(
        q_norm_ptr, k_norm_ptr, cos_sin_ptr, position, in_range, is_key, offs_d, offs_pair, d_mask, HEAD_DIM
    )
    pdl.grid_dependency_wait(USE_PDL)
    if split_id >= num_active_splits:
        return
    k_ptr += row * stride_kb + kv_head * HEAD_DIM
    q_ptr += row * stride_qb + (kv_head * GQA_GROUP_SIZE + offs_qk)[:, None] * HEAD_DIM  # [BLOCK_QK, 1]
    x = select_q_or_k(is_key, k_ptr, q_ptr, offs_d, d_mask, qk_mask & ~is_key[:, None])
    x_pair = select_q_or_k(is_key, k_ptr, q_ptr, offs_pair, d_mask, qk_mask & ~is_key[:, None])
    new_v = tl.load(v_ptr + row * stride_vb + kv_head * HEAD_DIM + offs_d, mask=d_mask, other=0.0).to(v.dtype)
    q, new_k = norm_and_rotate(x, x_pair, w_cos, w_sin, is_key, qk_mask, eps, k.dtype, HEAD_DIM)
    is_last_split = split_id == num_active_splits - 1
    if is_last_split:
        slot = context_len * NUM_KV_HEADS * HEAD_DIM + offs_d
        tl.store(k_cache_ptr + slot, new_k, mask=d_mask & in_range)
        tl.store(v_cache_ptr + slot, new_v, mask=d_mask & in_range)
    q, m_i, l_i, acc = start_softmax(q, new_k, new_v, is_last_split, qk_scale, BLOCK_QK, BLOCK_M, BLOCK_D)
    m_i, l_i, acc = attend_tile(q, k, v, start_split + offs_n < end_split, m_i, l_i, acc, qk_scale)
    for start_n in range(start_split + BLOCK_N, end_split, BLOCK_N):
        k, v = load_kv_tile(k_cache_ptr, v_cache_ptr, start_n + offs_n, end_split, offs_d, d_mask, STRIDE_N)
        m_i, l_i, acc = attend_tile(q, k, v, start_n + offs_n < end_split, m_i, l_i, acc, qk_scale)
    head = row * NUM_KV_HEADS * GQA_GROUP_SIZE + kv_head * GQA_GROUP_SIZE
    repeats: tl.constexpr = BLOCK_M // BLOCK_QK
    offs_m = tl.arange(0, BLOCK_M)
    heads = offs_m // repeats
    is_query = (heads < GQA_GROUP_SIZE) & (offs_m % repeats == 0)
    q_mask = is_query[:, None] & d_mask[None, :]
    if num_active_splits == 1:
        out = tl.where(in_range, acc / l_i[:, None], float("nan")).to(out_ptr.dtype.element_ty)  # [BLOCK_M, BLOCK_D]
        tl.store(out_ptr + (head + heads)[:, None] * HEAD_DIM + offs_d[None, :], out, mask=q_mask)
        return
    partial = (head + heads) * tl.num_programs(1) + split_id
    tl.store(partial_out_ptr + partial[:, None] * HEAD_DIM + offs_d[None, :], acc, mask=q_mask)
    tl.store(m_ptr + partial, m_i, mask=is_query)
    tl.store(l_ptr + partial, l_i, mask=is_query)
    tl.debug_barrier()  # all threads' stores precede the count
    split_counter_ptr += row * NUM_KV_HEADS + kv_head
    if tl.atomic_add(split_counter_ptr, 1, sem="acq_rel") == num_active_splits - 1:
        tl.store(split_counter_ptr, 0)
        reduce_splits(
            partial_out_ptr,
            m_ptr,
            l_ptr,
            out_ptr,
            head,
            num_active_splits,
            offs_d,
            d_mask,
            GQA_GROUP_SIZE,
            BLOCK_GQA,
            HEAD_DIM,
            BLOCK_D,
            BLOCK_SPLITS,
            COMBINE_BLOCK,
        )


@triton.jit
def split_range(context_len, split_id, BLOCK_N: tl.constexpr, MIN_KEYS_PER_SPLIT: tl.constexpr):
    """How many splits of a row have work (one at the least), and the keys start <= j < end of this one."""
    even_share = tl.cdiv(tl.cdiv(context_len, tl.num_programs(1)), BLOCK_N) * BLOCK_N
    keys_per_split = tl.maximum(even_share, MIN_KEYS_PER_SPLIT)
    num_active_splits = tl.maximum(tl.cdiv(context_len, keys_per_split), 1)
    start_split = split_id * keys_per_split
    end_split = tl.minimum(context_len, start_split + keys_per_split)
    return num_active_splits, start_split, end_split


@triton.jit
def load_kv_tile(k_ptr, v_ptr, offs_n, end_n, offs_d, d_mask, STRIDE_N: tl.constexpr):
    """K [BLOCK_D, BLOCK_N] and V [BLOCK_N, BLOCK_D] of one head; slots from ``end_n`` on may hold anything."""
    kv_mask = offs_n < end_n
    k_mask, v_mask = d_mask[:, None] & kv_mask[None, :], kv_mask[:, None] & d_mask[None, :]
    k = tl.load(k_ptr + offs_n[None, :] * STRIDE_N + offs_d[:, None], mask=k_mask, other=0.0)
    v = tl.load(v_ptr + offs_n[:, None] * STRIDE_N + offs_d[None, :], mask=v_mask, other=0.0)
    return k, v


@triton.jit
def start_softmax(
    # queries [BLOCK_QK, BLOCK_D]; the new token's key and value [BLOCK_D]
    q,
    new_k,
    new_v,
    is_last_split,
    qk_scale,
    # meta
    BLOCK_QK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """q [BLOCK_M, BLOCK_D], m_i, l_i and acc: of the new token in the split that owns it, of no key elsewhere.

    Tensor cores need 16 rows: each query is repeated BLOCK_M / BLOCK_QK times, side by side.
    """
    score = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], axis=1) * qk_scale  # [BLOCK_QK]
    repeats: tl.constexpr = BLOCK_M // BLOCK_QK
    q = tl.reshape(tl.broadcast_to(q[:, None, :], [BLOCK_QK, repeats, BLOCK_D]), [BLOCK_M, BLOCK_D])
    score = tl.reshape(tl.broadcast_to(score[:, None], [BLOCK_QK, repeats]), [BLOCK_M])
    m_i = tl.where(is_last_split, score, float("-inf"))
    l_i = tl.where(is_last_split, tl.full([BLOCK_M], 1.0, dtype=tl.float32), 0.0)
    acc = tl.where(is_last_split, tl.zeros([BLOCK_M, 1], dtype=tl.float32) + new_v.to(tl.float32)[None, :], 0.0)
    return q, m_i, l_i, acc


@triton.jit
def attend_tile(q, k, v, kv_mask, m_i, l_i, acc, qk_scale):
    """Take q [M, D] over a tile k [D, N], v [N, D] into m_i, l_i [M] and acc [M, D]."""
    qk = tl.where(kv_mask[None, :], tl.dot(q, k, input_precision="ieee") * qk_scale, float("-inf"))  # [M, N]
    p, alpha, m_i = online_softmax_update(qk, m_i, 1.0, GUARD=True)  # a row without cached keys
    acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision="ieee")
    return m_i, l_i * alpha + tl.sum(p, axis=1), acc


@triton.jit
def reduce_splits(
    # pointers
    partial_out_ptr,
    m_ptr,
    l_ptr,
    out_ptr,
    # sizes
    head,
    num_active_splits,
    offs_d,
    d_mask,
    # meta
    GQA_GROUP_SIZE: tl.constexpr,
    BLOCK_GQA: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
    COMBINE_BLOCK: tl.constexpr,
):
    """The output of the heads from ``head`` on; loads bypass L1 (.cg), for other programs wrote the splits."""
    offs_g = tl.arange(0, BLOCK_GQA)
    partial = (head + offs_g)[:, None] * tl.num_programs(1)  # [BLOCK_GQA, 1]
    is_head = (offs_g < GQA_GROUP_SIZE)[:, None]
    all_splits = tl.arange(0, BLOCK_SPLITS)[None, :]
    all_mask = is_head & (all_splits < num_active_splits)  # [BLOCK_GQA, BLOCK_SPLITS]
    m_i = tl.load(m_ptr + partial + all_splits, mask=all_mask, other=float("-inf"), cache_modifier=".cg")
    m_max = finite_max(tl.max(m_i, axis=1))[:, None]  # [BLOCK_GQA, 1]
    l_i = tl.zeros([BLOCK_GQA], dtype=tl.float32)
    acc = tl.zeros([BLOCK_GQA, BLOCK_D], dtype=tl.float32)
    for start in range(0, num_active_splits, COMBINE_BLOCK):
        offs_s = start + tl.arange(0, COMBINE_BLOCK)[None, :]
        mask = is_head & (offs_s < num_active_splits)  # [BLOCK_GQA, COMBINE_BLOCK]
        partial_ptrs = partial_out_ptr + (partial + offs_s)[:, :, None] * HEAD_DIM + offs_d[None, None, :]
        partial_mask = mask[:, :, None] & d_mask[None, None, :]  # [BLOCK_GQA, COMBINE_BLOCK, BLOCK_D]
        partial_out = tl.load(partial_ptrs, mask=partial_mask, other=0.0, cache_modifier=".cg")
        m_s = tl.load(m_ptr + partial + offs_s, mask=mask, other=float("-inf"), cache_modifier=".cg")
        weights = tl.exp2(m_s - m_max)
        l_s = tl.load(l_ptr + partial + offs_s, mask=mask, other=0.0, cache_modifier=".cg")
        l_i += combine_splits(l_s, weights, AXIS=1)  # [BLOCK_GQA]
        acc += combine_splits(partial_out, weights[:, :, None], AXIS=1)  # [BLOCK_GQA, BLOCK_D]
    out = acc / softmax_denominator(l_i)[:, None]  # [BLOCK_GQA, BLOCK_D]
    out_ptrs = out_ptr + (head + offs_g)[:, None] * HEAD_DIM + offs_d[None, :]
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=is_head & d_mask[None, :])
