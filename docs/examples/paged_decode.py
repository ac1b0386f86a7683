"""A sliding-window decode kernel over a paged KV cache, in the layout that vLLM's Triton kernels read."""

import torch
import triton
import triton.language as tl

WINDOW = 64  # keys that a query sees, its own included


@triton.jit
def _paged_decode(q_ptr, k_ptr, v_ptr, lengths_ptr, table_ptr, out_ptr, scale, table_width,
                  GROUP: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr,
                  BLOCK_D: tl.constexpr, PAGE: tl.constexpr, BLOCK_N: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    dims, slots = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    is_dim = dims < DIM
    query = (row * HEADS + head) * DIM + dims
    q = tl.load(q_ptr + query, mask=is_dim, other=0.0).to(tl.float32)
    length = tl.load(lengths_ptr + row)
    first = tl.maximum(length - KEYS, 0)
    m_i, l_i = -float("inf"), 0.0
    acc = tl.zeros([BLOCK_D], tl.float32)
    for at in range(first // PAGE, tl.cdiv(length, PAGE)):
        page = tl.load(table_ptr + row * table_width + at).to(tl.int64)
        keys = at * PAGE + slots
        seen = (slots < PAGE) & (keys >= first) & (keys < length)
        offs = ((page * PAGE + slots[:, None]) * KV_HEADS + head // GROUP) * DIM + dims[None, :]
        mask = seen[:, None] & is_dim[None, :]
        k = tl.load(k_ptr + offs, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_N, BLOCK_D]
        v = tl.load(v_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        scores = tl.where(seen, tl.sum(k * q[None, :], axis=1) * scale, -float("inf"))
        m_new = tl.maximum(m_i, tl.max(scores, axis=0))
        p, alpha = tl.exp(scores - m_new), tl.exp(m_i - m_new)
        l_i = l_i * alpha + tl.sum(p, axis=0)
        acc = acc * alpha + tl.sum(p[:, None] * v, axis=0)
        m_i = m_new
    out = tl.where(length > 0, acc / l_i, 0.0)  # not l_i > 0: a NaN stays one
    tl.store(out_ptr + query, out.to(out_ptr.dtype.element_ty), mask=is_dim)


def attend(q, k_cache, v_cache, lengths, scale, block_table, window=WINDOW):
    """q [B,Hq,D]; caches [pages,page,Hkv,D]; lengths [B]; block_table [B,pages of a row]. Returns out [B,Hq,D]."""
    q, k_cache, v_cache, lengths, block_table = (
        each.contiguous() for each in (q, k_cache, v_cache, lengths, block_table)
    )
    (batch, heads, dim), (_, page, kv_heads, _) = q.shape, k_cache.shape
    out = torch.zeros_like(q)
    if out.numel() and block_table.numel():
        _paged_decode[(batch, heads)](
            q, k_cache, v_cache, lengths, block_table, out, scale, block_table.shape[1],
            GROUP=heads // kv_heads, HEADS=heads, KV_HEADS=kv_heads, DIM=dim,
            BLOCK_D=triton.next_power_of_2(dim), PAGE=page, BLOCK_N=triton.next_power_of_2(page), KEYS=window,
        )  # fmt: skip
    return out


def wrong(*arguments):
    """Sees one key too many: FlashAttention's window_size=(WINDOW, 0) does not count the query's own."""
    return attend(*arguments, window=WINDOW + 1)
