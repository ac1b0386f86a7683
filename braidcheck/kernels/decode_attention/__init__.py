"""Fused decode attention of one new token a row: QK norm, RoPE, KV write, split-KV attention (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common import configs, pdl
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.decode_attention.kernel import decode_attention_kernel

LONG = 4096  # slots of a cache from which bandwidth counts more than what a split costs
LOG2E = 1.4426950408889634


def config_key(batch: int, cache_len: int) -> configs.Key:
    """The launch config's key for so many rows of a cache of so many slots."""
    if cache_len > LONG:
        return "decode_attention", configs.SMALL_M, configs.LARGE
    return "decode_attention", configs.GEMV if batch == 1 else configs.SMALL_M, configs.ANY


def decode_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> Tensor:
    """Attention of one new token a row over its cache, itself included, whose K and V are written to its slot.

    q[B,Hq,D], k[B,Hkv,D], v[B,Hkv,D] as projected, of one dtype; norm weights [D]; cos_sin[P,D] float32, cosines first;
    positions[B] int32 or int64, the slot of each row's new token: all slots before it are filled. Caches [B,S,Hkv,D].
    ``split_counter`` int32 [B,Hkv], all zero, is left so; by default one is made. A position outside cache or table
    gives NaN and writes nothing. Returns out[B,Hq,D] in the caches' dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == k.dim() == 3 and k.shape == v.shape, "q[B,Hq,D], k[B,Hkv,D] and v[B,Hkv,D] must agree")
    require(k_cache.dim() == 4 and k_cache.shape == v_cache.shape, "caches must be [B,S,Hkv,D]")
    batch, cache_len, kv_heads, dim = k_cache.shape
    num_heads = q.shape[1]
    require(k.shape == (batch, kv_heads, dim) and q.shape[::2] == (batch, dim), "q, k and the caches do not agree")
    require(num_heads % kv_heads == 0 and dim % 2 == 0, "Hq % Hkv and D % 2 must be 0")
    require(q.dtype == k.dtype == v.dtype and k_cache.dtype == v_cache.dtype, "q, k, v need one dtype, the caches one")
    require(q_norm_weight.shape == k_norm_weight.shape == (dim,), f"norm weights must be [{dim}]")
    require(cos_sin.dim() == 2 and cos_sin.shape[1] == dim, f"cos_sin must be [max_positions,{dim}]")
    require(cos_sin.dtype == torch.float32 and cos_sin.is_contiguous(), "cos_sin must be contiguous float32")
    require(positions.shape == (batch,) and positions.is_contiguous(), f"positions must be [{batch}]")
    require(all(x.stride()[1:] == (dim, 1) for x in (q, k, v)), "the heads of q, k and v must be contiguous")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require(k_cache[:1].numel() < 2**31, "a row of a cache must have fewer than 2**31 numbers")
    require_contiguous_last_dim(q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight)
    require_same_device(q=q, k_cache=k_cache, v_cache=v_cache, cos_sin=cos_sin, positions=positions)
    if split_counter is None:
        split_counter = torch.zeros(batch, kv_heads, dtype=torch.int32, device=q.device)
    require(split_counter.shape == (batch, kv_heads), f"split_counter must be [{batch},{kv_heads}]")
    require(split_counter.dtype == torch.int32, f"split_counter must be int32, is {split_counter.dtype}")
    out = torch.empty(q.shape, dtype=k_cache.dtype, device=q.device)
    if not out.numel() or not cache_len:
        return out.fill_(torch.nan)
    config = configs.get_config(*config_key(batch, cache_len)).meta()
    max_splits = min(config.pop("MAX_SPLITS"), cdiv(cache_len, config["MIN_KEYS_PER_SPLIT"]))
    partial_out = torch.empty(batch, num_heads, max_splits, dim, dtype=torch.float32, device=q.device)
    m_i, l_i = torch.empty(2, batch, num_heads, max_splits, dtype=torch.float32, device=q.device)
    gqa_group_size = num_heads // kv_heads
    decode_attention_kernel[kv_heads, max_splits, batch](
        q_ptr=q,
        k_ptr=k,
        v_ptr=v,
        q_norm_ptr=q_norm_weight,
        k_norm_ptr=k_norm_weight,
        cos_sin_ptr=cos_sin,
        positions_ptr=positions,
        k_cache_ptr=k_cache,
        v_cache_ptr=v_cache,
        out_ptr=out,
        partial_out_ptr=partial_out,
        m_ptr=m_i,
        l_ptr=l_i,
        split_counter_ptr=split_counter,
        cache_len=cache_len,
        rope_len=cos_sin.shape[0],
        eps=eps,
        qk_scale=scale * LOG2E,
        stride_qb=q.stride(0),
        stride_kb=k.stride(0),
        stride_vb=v.stride(0),
        stride_k_cache_b=k_cache.stride(0),
        stride_v_cache_b=v_cache.stride(0),
        NUM_KV_HEADS=kv_heads,
        GQA_GROUP_SIZE=gqa_group_size,
        BLOCK_M=max(16, next_power_of_2(gqa_group_size + 1)),
        BLOCK_QK=next_power_of_2(gqa_group_size + 1),
        BLOCK_GQA=next_power_of_2(gqa_group_size),
        HEAD_DIM=dim,
        BLOCK_D=max(16, next_power_of_2(dim)),
        BLOCK_SPLITS=next_power_of_2(max_splits),
        **config,
        **pdl.launch_options(),
    )
    return out
