"""Grouped-query attention of one query a row over its KV cache: Flash-Decoding, in two launches (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.attention_decode.kernel import attention_decode_combine_kernel, attention_decode_split_kernel
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device

BLOCK_N = 256 if INTERPRETED else 64
MAX_SPLITS = 4 if INTERPRETED else 64
LOG2E = 1.4426950408889634


def attention_decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Attention of one query a row over the first ``lengths[b]`` slots of its cache.

    q[B,Hq,D]; caches [B,S,Hkv,D] of q's dtype; lengths[B] int32 or int64, the new token included; 0 gives zeros.
    Slots at and past a length are never read. The number of splits depends on S alone, so a row's result does not
    depend on its neighbours. Returns out[B,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k_cache.dim() == 4 and k_cache.shape == v_cache.shape, "q[B,Hq,D], caches [B,S,Hkv,D]")
    batch, cache_len, kv_heads, dim = k_cache.shape
    num_heads = q.shape[1]
    require(q.shape[0] == batch and q.shape[2] == dim and num_heads % kv_heads == 0, "q and the caches do not agree")
    require(q.dtype == k_cache.dtype == v_cache.dtype, "q and the caches must have one dtype")
    require(lengths.shape == (batch,), f"lengths must be [{batch}], is {tuple(lengths.shape)}")
    require(q.stride()[1:] == (dim, 1), "the heads of q must be contiguous")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require_contiguous_last_dim(lengths=lengths)
    require_same_device(q=q, k_cache=k_cache, v_cache=v_cache, lengths=lengths)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if not out.numel():
        return out
    num_splits = min(MAX_SPLITS, cdiv(cache_len, 2 * BLOCK_N))
    keys_per_split = cdiv(cdiv(cache_len, num_splits), BLOCK_N) * BLOCK_N
    gqa_group_size, block_d = num_heads // kv_heads, max(16, next_power_of_2(dim))
    partial_out = torch.empty(batch, num_heads, num_splits, dim, dtype=torch.float32, device=q.device)
    m_i, l_i = torch.empty(2, batch, num_heads, num_splits, dtype=torch.float32, device=q.device)
    attention_decode_split_kernel[batch, kv_heads, num_splits](
        q_ptr=q,
        k_cache_ptr=k_cache,
        v_cache_ptr=v_cache,
        lengths_ptr=lengths,
        partial_out_ptr=partial_out,
        m_ptr=m_i,
        l_ptr=l_i,
        cache_len=cache_len,
        keys_per_split=keys_per_split,
        qk_scale=scale * LOG2E,
        stride_qb=q.stride(0),
        stride_kb=k_cache.stride(0),
        stride_vb=v_cache.stride(0),
        NUM_KV_HEADS=kv_heads,
        GQA_GROUP_SIZE=gqa_group_size,
        BLOCK_M=max(16, next_power_of_2(gqa_group_size)),
        HEAD_DIM=dim,
        BLOCK_D=block_d,
        BLOCK_N=BLOCK_N,
    )
    attention_decode_combine_kernel[(batch * num_heads,)](
        partial_out_ptr=partial_out,
        m_ptr=m_i,
        l_ptr=l_i,
        out_ptr=out,
        num_splits=num_splits,
        HEAD_DIM=dim,
        BLOCK_D=block_d,
        BLOCK_SPLITS=next_power_of_2(num_splits),
    )
    return out
