"""Fused attention of one layer in three launches: FlashAttention-2 (Dao 2023, arXiv:2307.08691) over a KV cache.

    x = rms_norm(hidden) @ W_qkv.T;  q, k = rope(head_norm(x_q)), rope(head_norm(x_k));  K[slot], V[slot] = k, x_v
    out = softmax(scale * q . K.T) V @ W_o.T

1. ``project_to_cache``, grid (cdiv(T, BLOCK_M), Hq + 2 Hkv): a tile of tokens by one head, held as two halves of
   BLOCK_HALF_D for rotate-half RoPE; Q goes to scratch, K and V to their slots.
2. ``attend_cache``, grid (cdiv(T, TOKENS), Hkv): TOKENS tokens times the query heads of one KV head are the M of its
   products; keys come in tiles of BLOCK_N. q, m_i, l_i and both halves of acc stay in registers.
3. ``project_out``, grid (cdiv(H, BLOCK_N), cdiv(T, BLOCK_M)).

HBM traffic: both weights once a tile of tokens, hidden, Q, the heads' outputs (written and read), K and V, out.
Cast points: the normalised row, q, k, v, P and the heads' outputs, each to the weights' dtype; a pre-RoPE cache rounds
K before its norm and again after RoPE. Products, norms, RoPE and the softmax are float32 (no TF32).
Out of range: slots outside the cache are not written, keys past a length are not read, a row of no keys gives zeros, a
position outside the table gives NaN.
Synchronisation: none within a launch; each launch follows the one before it on the stream.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common.rms_norm import rmsnorm_rstd, tile_dot
from braidcheck.kernels.common.rope import rmsnorm_halves, rotate_halves
from braidcheck.kernels.common.softmax import online_softmax_update, softmax_denominator


@triton.jit
def project_to_cache(
    # pointers
    x_ptr,
    norm_ptr,
    weight_ptr,
    q_norm_ptr,
    k_norm_ptr,
    cos_sin_ptr,
    positions_ptr,
    lengths_ptr,
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    # sizes
    num_tokens,
    width,
    rope_len,
    cache_len,
    # strides
    stride_xm,
    stride_wn,
    stride_k_cache_b,
    stride_v_cache_b,
    # sizes
    eps,
    # meta
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_HALF_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DECODE: tl.constexpr,
    PRE_ROPE: tl.constexpr,
):
    """Phases 1 to 4: RMSNorm, one head's projection, its norm and RoPE; Q to scratch, K and V to their slots."""
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    head = tl.program_id(1)
    offs_d = tl.arange(0, BLOCK_HALF_D)
    m_mask = offs_m < num_tokens
    d_mask = offs_d < HEAD_DIM // 2
    inv_rms = rmsnorm_rstd(x_ptr, offs_m, m_mask, stride_xm, width, eps, BLOCK_M, BLOCK_K)
    first = (head * HEAD_DIM + offs_d).to(tl.int64)
    acc1 = tl.zeros([BLOCK_M, BLOCK_HALF_D], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_M, BLOCK_HALF_D], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        offs_k = start + tl.arange(0, BLOCK_K)
        k_mask = offs_k < width
        x = tl.load(
            x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=m_mask[:, None] & k_mask[None, :], other=0.0
        )
        norm = tl.load(norm_ptr + offs_k, mask=k_mask, other=0.0).to(tl.float32)
        x = (x.to(tl.float32) * inv_rms[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        mask = k_mask[:, None] & d_mask[None, :]
        w = weight_ptr + first[None, :] * stride_wn + offs_k[:, None]
        acc1 = tl.dot(x, tl.load(w, mask=mask, other=0.0), acc1, input_precision="ieee")
        w += (HEAD_DIM // 2) * stride_wn
        acc2 = tl.dot(x, tl.load(w, mask=mask, other=0.0), acc2, input_precision="ieee")
    is_q = head < NUM_HEADS
    is_v = head >= NUM_HEADS + NUM_KV_HEADS
    plain = is_v or (PRE_ROPE and not is_q)
    if not plain:
        norm_ptr = k_norm_ptr
        if is_q:
            norm_ptr = q_norm_ptr
        acc1, acc2 = rmsnorm_halves(acc1, acc2, norm_ptr, offs_d, d_mask, eps, HEAD_DIM)
        positions = tl.load(positions_ptr + offs_m, mask=m_mask, other=0).to(tl.int64)
        acc1, acc2 = rotate_halves(acc1, acc2, cos_sin_ptr, positions, m_mask, rope_len, offs_d, d_mask, HEAD_DIM)
    # Bases are chosen before anything is added: Triton 3.6 cannot join computed pointers for gfx942.
    out_ptr = k_cache_ptr
    if is_v:
        out_ptr = v_cache_ptr
    if is_q:
        out_ptr = q_ptr
        offsets = offs_m * (NUM_HEADS * HEAD_DIM) + head * HEAD_DIM
    else:
        row, slots = token_slots(lengths_ptr, offs_m, m_mask, num_tokens, BLOCK_M, DECODE)
        m_mask = m_mask & (slots >= 0) & (slots < cache_len)  # a slot outside the cache is written nowhere
        kv_head = (head - NUM_HEADS) % NUM_KV_HEADS
        offsets = row * stride_k_cache_b
        if is_v:
            offsets = row * stride_v_cache_b
        offsets += (slots * NUM_KV_HEADS + kv_head) * HEAD_DIM
    out = out_ptr + offsets[:, None] + offs_d[None, :]
    out_mask = m_mask[:, None] & d_mask[None, :]
    tl.store(out, acc1.to(q_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out + HEAD_DIM // 2, acc2.to(q_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def token_slots(lengths_ptr, offs_m, m_mask, num_tokens, BLOCK_M: tl.constexpr, DECODE: tl.constexpr):
    """Cache row and slot of each new token, int64 [BLOCK_M]: one token a row in decode, one row in a prefill."""
    if DECODE:
        row = offs_m
        slots = tl.load(lengths_ptr + offs_m, mask=m_mask, other=0).to(tl.int64) - 1
    else:
        row = tl.zeros([BLOCK_M], dtype=tl.int64)
        slots = tl.load(lengths_ptr).to(tl.int64) - num_tokens + offs_m
    return row, slots


@triton.jit
def attend_cache(
    # pointers
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    k_norm_ptr,
    cos_sin_ptr,
    lengths_ptr,
    out_ptr,
    # sizes
    num_tokens,
    rope_len,
    cache_len,
    # strides
    stride_k_cache_b,
    stride_v_cache_b,
    # sizes
    eps,
    qk_scale,
    # meta
    NUM_KV_HEADS: tl.constexpr,
    GQA_GROUP_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_HALF_D: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    DECODE: tl.constexpr,
    PRE_ROPE: tl.constexpr,
):
    """Phase 5: TOKENS tokens times the GQA_GROUP_SIZE query heads of one KV head, over that head's cached keys.

    A pre-RoPE cache is normalised and rotated as it is read, slot s holding the token of position s.
    """
    offs_m = tl.arange(0, BLOCK_M)
    tokens = (tl.program_id(0) * TOKENS + offs_m // GQA_GROUP_SIZE).to(tl.int64)
    kv_head = tl.program_id(1)
    heads = kv_head * GQA_GROUP_SIZE + offs_m % GQA_GROUP_SIZE
    offs_d = tl.arange(0, BLOCK_HALF_D)
    d_mask = offs_d < HEAD_DIM // 2
    m_mask = (offs_m < TOKENS * GQA_GROUP_SIZE) & (tokens < num_tokens)
    row, end, last_key = visible_keys(lengths_ptr, tokens, num_tokens, cache_len, TOKENS, BLOCK_M, DECODE)
    q_mask = m_mask[:, None] & d_mask[None, :]
    q_offsets = (tokens * (NUM_KV_HEADS * GQA_GROUP_SIZE) + heads)[:, None] * HEAD_DIM + offs_d[None, :]
    q1 = tl.load(q_ptr + q_offsets, mask=q_mask, other=0.0)
    q2 = tl.load(q_ptr + q_offsets + HEAD_DIM // 2, mask=q_mask, other=0.0)
    m_i = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    l_i = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc1 = tl.zeros([BLOCK_M, BLOCK_HALF_D], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_M, BLOCK_HALF_D], dtype=tl.float32)
    for start in range(0, end, BLOCK_N):
        offs_n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)
        kv_mask = offs_n < end  # slots past the newest token may hold anything, NaN included
        mask = kv_mask[:, None] & d_mask[None, :]
        kv_offsets = (offs_n * NUM_KV_HEADS + kv_head)[:, None] * HEAD_DIM + offs_d[None, :]
        k1 = tl.load(k_cache_ptr + row * stride_k_cache_b + kv_offsets, mask=mask, other=0.0)
        k2 = tl.load(k_cache_ptr + row * stride_k_cache_b + kv_offsets + HEAD_DIM // 2, mask=mask, other=0.0)
        if PRE_ROPE:
            k1_wide, k2_wide = rmsnorm_halves(
                k1.to(tl.float32), k2.to(tl.float32), k_norm_ptr, offs_d, d_mask, eps, HEAD_DIM
            )
            k1_wide, k2_wide = rotate_halves(
                k1_wide, k2_wide, cos_sin_ptr, offs_n, kv_mask, rope_len, offs_d, d_mask, HEAD_DIM
            )
            k1 = tl.where(mask, k1_wide, 0.0).to(q1.dtype)
            k2 = tl.where(mask, k2_wide, 0.0).to(q1.dtype)
        qk = tl.dot(q1, tl.trans(k1), input_precision="ieee")
        qk = tl.dot(q2, tl.trans(k2), qk, input_precision="ieee") * qk_scale
        visible = (offs_n[None, :] <= last_key[:, None]) & kv_mask[None, :]
        qk = tl.where(visible, qk, float("-inf"))
        p, alpha, m_i = online_softmax_update(qk, m_i, 1.0, GUARD=True)
        l_i = l_i * alpha + tl.sum(p, axis=1)
        v1 = tl.load(v_cache_ptr + row * stride_v_cache_b + kv_offsets, mask=mask, other=0.0)
        v2 = tl.load(v_cache_ptr + row * stride_v_cache_b + kv_offsets + HEAD_DIM // 2, mask=mask, other=0.0)
        acc1 = tl.dot(p.to(v1.dtype), v1, acc1 * alpha[:, None], input_precision="ieee")
        acc2 = tl.dot(p.to(v1.dtype), v2, acc2 * alpha[:, None], input_precision="ieee")
    l_i = softmax_denominator(l_i)[:, None]
    tl.store(out_ptr + q_offsets, (acc1 / l_i).to(out_ptr.dtype.element_ty), mask=q_mask)
    tl.store(out_ptr + q_offsets + HEAD_DIM // 2, (acc2 / l_i).to(out_ptr.dtype.element_ty), mask=q_mask)


@triton.jit
def visible_keys(
    lengths_ptr,
    tokens,  # [BLOCK_M]
    # sizes
    num_tokens,
    cache_len,
    # meta
    TOKENS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    DECODE: tl.constexpr,
):
    """The cache row of a program, the end of its keys, and each token's last key [BLOCK_M]."""
    if DECODE:
        row = tl.program_id(0).to(tl.int64)
        length = tl.load(lengths_ptr + row).to(tl.int64)
        end = tl.maximum(tl.minimum(length, cache_len), 0).to(tl.int32)  # an int64 is clamped before it is narrowed
        last_key = tl.zeros([BLOCK_M], dtype=tl.int64) + end - 1
    else:
        row = tl.zeros([], dtype=tl.int64)
        begin = tl.load(lengths_ptr).to(tl.int64) - num_tokens
        end = begin + tl.minimum(num_tokens, (tl.program_id(0) + 1) * TOKENS)
        end = tl.maximum(tl.minimum(end, cache_len), 0).to(tl.int32)
        last_key = begin + tokens
    return row, end, last_key


@triton.jit
def project_out(
    # pointers
    x_ptr,
    weight_ptr,
    out_ptr,
    # sizes
    num_tokens,
    width,
    length,
    # strides
    stride_wn,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Phase 6: the output projection of all heads."""
    offs_m = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    offs_n = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    m_mask = offs_m < num_tokens
    n_mask = offs_n < width
    acc = tile_dot(
        x_ptr,
        offs_m,
        m_mask,
        length,
        weight_ptr,
        offs_n,
        n_mask,
        stride_wn,
        length,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
    )
    mask = m_mask[:, None] & n_mask[None, :]
    tl.store(out_ptr + offs_m[:, None] * width + offs_n[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)
