"""The three launches of fused attention: norm to cache, attention over the cache, output projection."""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common.rms_norm import rmsnorm_rstd as inverse_rms
from braidcheck.kernels.common.rms_norm import tile_dot as project_rows
from braidcheck.kernels.common.rope import rmsnorm_halves as norm_halves
from braidcheck.kernels.common.rope import rotate_halves


@triton.jit
def project_to_cache(
    x_ptr, norm_ptr, weight_ptr, q_norm_ptr, k_norm_ptr, cos_sin_ptr, positions_ptr, lengths_ptr, q_ptr, k_cache_ptr,
    v_cache_ptr, num_tokens, width, max_positions, capacity, x_stride, weight_stride, k_batch_stride, v_batch_stride,
    eps, NUM_HEADS: tl.constexpr, NUM_KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, HALF: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, DECODE: tl.constexpr, RAW: tl.constexpr,
):  # fmt: skip
    """Phases 1 to 4: RMSNorm, one head's projection, its norm and RoPE; Q to scratch, K and V to their slots."""
    rows = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, HALF)
    row_mask = rows < num_tokens
    dim_mask = dims < HEAD_DIM // 2
    inverse = inverse_rms(x_ptr, rows, row_mask, x_stride, width, eps, BLOCK_T, BLOCK_K)
    first = (head * HEAD_DIM + dims).to(tl.int64)
    acc1 = tl.zeros([BLOCK_T, HALF], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_T, HALF], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < width
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        norm = tl.load(norm_ptr + k, mask=k_mask, other=0.0).to(tl.float32)
        x = (x.to(tl.float32) * inverse[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        mask = k_mask[:, None] & dim_mask[None, :]
        w = weight_ptr + first[None, :] * weight_stride + k[:, None]
        acc1 = tl.dot(x, tl.load(w, mask=mask, other=0.0), acc1, input_precision="ieee")
        w += (HEAD_DIM // 2) * weight_stride
        acc2 = tl.dot(x, tl.load(w, mask=mask, other=0.0), acc2, input_precision="ieee")
    is_q = head < NUM_HEADS
    is_v = head >= NUM_HEADS + NUM_KV_HEADS
    plain = is_v or (RAW and not is_q)
    if not plain:
        norm_ptr = k_norm_ptr
        if is_q:
            norm_ptr = q_norm_ptr
        acc1, acc2 = norm_halves(acc1, acc2, norm_ptr, dims, dim_mask, eps, HEAD_DIM)
        positions = tl.load(positions_ptr + rows, mask=row_mask, other=0).to(tl.int64)
        acc1, acc2 = rotate_halves(
            acc1, acc2, cos_sin_ptr, positions, row_mask, max_positions, dims, dim_mask, HEAD_DIM
        )
    # Bases are chosen before anything is added: Triton 3.6 cannot join computed pointers for gfx942.
    out_ptr = k_cache_ptr
    if is_v:
        out_ptr = v_cache_ptr
    if is_q:
        out_ptr = q_ptr
        offsets = rows * (NUM_HEADS * HEAD_DIM) + head * HEAD_DIM
    else:
        # One token a row in decode, one row in a prefill; a slot outside the cache is written nowhere.
        if DECODE:
            row = rows
            slots = tl.load(lengths_ptr + rows, mask=row_mask, other=0).to(tl.int64) - 1
        else:
            row = tl.zeros([BLOCK_T], dtype=tl.int64)
            slots = tl.load(lengths_ptr).to(tl.int64) - num_tokens + rows
        row_mask = row_mask & (slots >= 0) & (slots < capacity)
        kv_head = (head - NUM_HEADS) % NUM_KV_HEADS
        offsets = row * k_batch_stride
        if is_v:
            offsets = row * v_batch_stride
        offsets += (slots * NUM_KV_HEADS + kv_head) * HEAD_DIM
    out = out_ptr + offsets[:, None] + dims[None, :]
    out_mask = row_mask[:, None] & dim_mask[None, :]
    tl.store(out, acc1.to(q_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out + HEAD_DIM // 2, acc2.to(q_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def attend_cache(
    q_ptr, k_cache_ptr, v_cache_ptr, k_norm_ptr, cos_sin_ptr, lengths_ptr, out_ptr, num_tokens, max_positions, capacity,
    k_batch_stride, v_batch_stride, eps, scale_log2, NUM_KV_HEADS: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, HALF: tl.constexpr, TOKENS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_S: tl.constexpr,
    DECODE: tl.constexpr, RAW: tl.constexpr,
):  # fmt: skip
    """Phase 5: TOKENS tokens times the GROUP query heads of one KV head, over that head's cached keys.

    A raw cache is normalised and rotated as it is read, slot s holding the token of position s.
    """
    m = tl.arange(0, BLOCK_M)
    tokens = (tl.program_id(0) * TOKENS + m // GROUP).to(tl.int64)
    kv_head = tl.program_id(1)
    heads = kv_head * GROUP + m % GROUP
    dims = tl.arange(0, HALF)
    dim_mask = dims < HEAD_DIM // 2
    m_mask = (m < TOKENS * GROUP) & (tokens < num_tokens)
    if DECODE:
        row = tl.program_id(0).to(tl.int64)
        end = tl.minimum(tl.load(lengths_ptr + row), capacity).to(tl.int32)
        last = tl.zeros([BLOCK_M], dtype=tl.int64) + end - 1
    else:
        row = tl.zeros([], dtype=tl.int64)
        begin = tl.load(lengths_ptr).to(tl.int32) - num_tokens
        end = tl.minimum(capacity, begin + tl.minimum(num_tokens, (tl.program_id(0) + 1) * TOKENS))
        last = begin + tokens
    q_mask = m_mask[:, None] & dim_mask[None, :]
    q_place = (tokens * (NUM_KV_HEADS * GROUP) + heads)[:, None] * HEAD_DIM + dims[None, :]
    q1 = tl.load(q_ptr + q_place, mask=q_mask, other=0.0)
    q2 = tl.load(q_ptr + q_place + HEAD_DIM // 2, mask=q_mask, other=0.0)
    top = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc1 = tl.zeros([BLOCK_M, HALF], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_M, HALF], dtype=tl.float32)
    for start in range(0, end, BLOCK_S):
        keys = (start + tl.arange(0, BLOCK_S)).to(tl.int64)
        key_mask = keys < end  # slots past the newest token may hold anything, NaN included
        mask = key_mask[:, None] & dim_mask[None, :]
        place = (keys * NUM_KV_HEADS + kv_head)[:, None] * HEAD_DIM + dims[None, :]
        k1 = tl.load(k_cache_ptr + row * k_batch_stride + place, mask=mask, other=0.0)
        k2 = tl.load(k_cache_ptr + row * k_batch_stride + place + HEAD_DIM // 2, mask=mask, other=0.0)
        if RAW:
            wide1, wide2 = norm_halves(k1.to(tl.float32), k2.to(tl.float32), k_norm_ptr, dims, dim_mask, eps, HEAD_DIM)
            wide1, wide2 = rotate_halves(
                wide1, wide2, cos_sin_ptr, keys, key_mask, max_positions, dims, dim_mask, HEAD_DIM
            )
            k1 = tl.where(mask, wide1, 0.0).to(q1.dtype)
            k2 = tl.where(mask, wide2, 0.0).to(q1.dtype)
        s = tl.dot(q1, tl.trans(k1), input_precision="ieee")
        s = tl.dot(q2, tl.trans(k2), s, input_precision="ieee") * scale_log2
        seen = (keys[None, :] <= last[:, None]) & key_mask[None, :]
        s = tl.where(seen, s, float("-inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)
        p = tl.exp2(s - safe_top[:, None])
        shrink = tl.exp2(top - safe_top)
        total = total * shrink + tl.sum(p, axis=1)
        v1 = tl.load(v_cache_ptr + row * v_batch_stride + place, mask=mask, other=0.0)
        v2 = tl.load(v_cache_ptr + row * v_batch_stride + place + HEAD_DIM // 2, mask=mask, other=0.0)
        acc1 = tl.dot(p.to(v1.dtype), v1, acc1 * shrink[:, None], input_precision="ieee")
        acc2 = tl.dot(p.to(v1.dtype), v2, acc2 * shrink[:, None], input_precision="ieee")
        top = new_top
    total = tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out_ptr + q_place, (acc1 / total).to(out_ptr.dtype.element_ty), mask=q_mask)
    tl.store(out_ptr + q_place + HEAD_DIM // 2, (acc2 / total).to(out_ptr.dtype.element_ty), mask=q_mask)


@triton.jit
def project_out(
    x_ptr, weight_ptr, out_ptr, num_tokens, width, length, weight_stride, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Phase 6: the output projection of all heads."""
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    acc = project_rows(
        x_ptr, rows, row_mask, length, weight_ptr, columns, column_mask, weight_stride, length,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)
