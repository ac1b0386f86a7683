"""Causal prefill attention: FlashAttention-2 (Dao 2023, arXiv:2307.08691), forward only, grouped queries.

    out[i, h] = softmax(scale * q[i, h] . K[j].T) V[j]        over first_key[i] <= j <= q_start + i, K, V of h's KV head

Grid: (Hq, cdiv(T, BLOCK_M)), the last tile of queries first, since it has the most keys (LPT scheduling). A program
holds q [BLOCK_M, BLOCK_D], m_i, l_i and acc in registers and walks tiles of BLOCK_N keys: those that all of its queries
see without a mask, then those on the diagonal with one. Packed sequences (PACKED) mask all tiles, from the tile of
their earliest key on.
HBM traffic: q and out once; K and V once a tile of queries and query head, most of it from the L2 cache.
Cast points: P to v's dtype before P.V, out to q's dtype. Products, m_i, l_i and acc are float32 (no TF32); the scale is
applied after q.k, in float32.
Out of range: queries from T on are not stored, keys from q_start + T on read as zeros and are masked; both by the mask
of a load or, with USE_TMA, by the bounds of the tensor descriptor.
Synchronisation (PDL): lets the next kernel start at once and waits for the upstream kernels before all loads. Programs
share nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.softmax import online_softmax_update, softmax_denominator


@triton.jit
def attention_prefill_kernel(
    # pointers
    q_ptr,  # [T, Hq, D], a pointer or, with USE_TMA, a tensor descriptor
    k_ptr,  # [S, Hkv, D], likewise
    v_ptr,  # [S, Hkv, D], likewise
    seq_starts_ptr,  # [T] the first row of each row's sequence, read where PACKED
    out_ptr,  # [T, Hq, D]
    # sizes
    num_tokens,
    q_start,
    qk_scale,
    # strides
    stride_qt,
    stride_ks,
    stride_vs,
    # meta
    GQA_GROUP_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PACKED: tl.constexpr,
    USE_TMA: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """One tile of queries of one head over all keys that it sees."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    head = tl.program_id(0)
    start_m = (tl.num_programs(1) - 1 - tl.program_id(1)) * BLOCK_M
    kv_head = head // GQA_GROUP_SIZE
    offs_m = start_m + tl.arange(0, BLOCK_M)
    m_mask = offs_m < num_tokens
    q = load_head_tile(q_ptr, start_m, head, num_tokens, stride_qt, HEAD_DIM, BLOCK_D, BLOCK_M, USE_TMA)
    num_keys = q_start + num_tokens  # keys past them may hold anything
    last_key = q_start + offs_m  # [BLOCK_M]
    first_key = tl.zeros([BLOCK_M], dtype=tl.int32)
    start_n = 0
    diagonal_n = (q_start + start_m) // BLOCK_N * BLOCK_N  # the keys before it are seen by all queries
    if PACKED:
        # A start before row 0 or after the row itself is invalid: such rows belong to a sequence that starts at row 0.
        starts = tl.load(seq_starts_ptr + offs_m, mask=m_mask, other=num_tokens)  # [BLOCK_M] int64
        first_key = tl.where(m_mask & ((starts < 0) | (starts > offs_m)), 0, starts).to(tl.int32)
        start_n = tl.min(first_key, axis=0) // BLOCK_N * BLOCK_N
        diagonal_n = start_n
    m_i = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    l_i = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    for MASKED in tl.static_range(2):  # off the diagonal, then on it
        lo = diagonal_n if MASKED else start_n
        hi = tl.minimum(num_keys, q_start + start_m + BLOCK_M) if MASKED else diagonal_n
        m_i, l_i, acc = attend_keys(
            q,
            m_i,
            l_i,
            acc,
            k_ptr,
            v_ptr,
            kv_head,
            lo,
            hi,
            num_keys,
            first_key,
            last_key,
            qk_scale,
            stride_ks,
            stride_vs,
            HEAD_DIM,
            BLOCK_D,
            BLOCK_N,
            MASKED,
            PACKED,
            USE_TMA,
        )
    out = acc / softmax_denominator(l_i)[:, None]  # [BLOCK_M, BLOCK_D]
    offs_d = tl.arange(0, BLOCK_D)
    out_offsets = offs_m.to(tl.int64)[:, None] * (tl.num_programs(0) * HEAD_DIM) + head * HEAD_DIM + offs_d[None, :]
    out_mask = m_mask[:, None] & (offs_d < HEAD_DIM)[None, :]
    tl.store(out_ptr + out_offsets, out.to(out_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def attend_keys(
    # state: m_i and l_i [BLOCK_M], q and acc [BLOCK_M, BLOCK_D]
    q,
    m_i,
    l_i,
    acc,
    # pointers or tensor descriptors
    k_ptr,
    v_ptr,
    # keys: start_n <= j < end_n; a query sees first_key <= j <= last_key, both [BLOCK_M]
    kv_head,
    start_n,
    end_n,
    num_keys,
    first_key,
    last_key,
    qk_scale,
    # strides
    stride_ks,
    stride_vs,
    # meta
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr,
    PACKED: tl.constexpr,
    USE_TMA: tl.constexpr,
):
    """Take the keys from ``start_n`` to ``end_n`` into m_i, l_i and acc, a tile of BLOCK_N at a time."""
    for start in range(start_n, end_n, BLOCK_N):
        k = load_head_tile(k_ptr, start, kv_head, num_keys, stride_ks, HEAD_DIM, BLOCK_D, BLOCK_N, USE_TMA)
        v = load_head_tile(v_ptr, start, kv_head, num_keys, stride_vs, HEAD_DIM, BLOCK_D, BLOCK_N, USE_TMA)
        qk = tl.dot(q, k.T, input_precision="ieee")  # [BLOCK_M, BLOCK_N]
        if MASKED:
            offs_n = start + tl.arange(0, BLOCK_N)
            visible = (offs_n[None, :] <= last_key[:, None]) & (offs_n[None, :] >= first_key[:, None])
            qk = tl.where(visible, qk, float("-inf"))
        p, alpha, m_i = online_softmax_update(qk, m_i, qk_scale, GUARD=PACKED)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision="ieee")  # [BLOCK_M, BLOCK_D]
        l_i = l_i * alpha + tl.sum(p, axis=1)
    return m_i, l_i, acc


@triton.jit
def load_head_tile(
    # pointer or tensor descriptor, [num_rows, heads, D]
    source,
    # sizes
    start,
    head,
    num_rows,
    # strides
    stride,
    # meta
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK: tl.constexpr,
    USE_TMA: tl.constexpr,
):
    """One head of BLOCK rows from ``start`` on, [BLOCK, BLOCK_D]; zeros from ``num_rows`` on."""
    if USE_TMA:
        tile = tl.reshape(source.load([start, head, 0]), (BLOCK, BLOCK_D))
    else:
        offs = (start + tl.arange(0, BLOCK)).to(tl.int64)
        offs_d = tl.arange(0, BLOCK_D)
        mask = (offs < num_rows)[:, None] & (offs_d < HEAD_DIM)[None, :]
        tile = tl.load(source + offs[:, None] * stride + head * HEAD_DIM + offs_d[None, :], mask=mask, other=0.0)
    return tile
