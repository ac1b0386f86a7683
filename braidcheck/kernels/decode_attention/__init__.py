"""Fused decode attention of one new token a row: QK norm, RoPE, KV write, split-KV attention (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common import configs, pdl
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.validation import (
    check_shapes,
    require_contiguous_heads,
    require_contiguous_last_dim,
    require_contiguous_rows,
    require_grouped_heads,
    require_rope_table,
    require_same_device,
    require_same_dtype,
)
from braidcheck.kernels.decode_attention.kernel import decode_attention_kernel

LOG2E = 1.4426950408889634
MAX_ROW_ELEMENTS = 2**31 - 1  # of a cache: offsets within a row are int32


def config_key(batch: int, cache_len: int) -> configs.Key:
    """The launch config's key for so many rows of a cache of so many slots."""
    bucket = configs.size_bucket("decode_attention", cache_len)
    return "decode_attention", configs.GEMV if batch == 1 and bucket is configs.ANY else configs.SMALL_M, bucket


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
    _validate(q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, split_counter)
    batch, cache_len, kv_heads, _ = k_cache.shape
    if split_counter is None:
        split_counter = torch.zeros(batch, kv_heads, dtype=torch.int32, device=q.device)
    out = torch.empty(q.shape, dtype=k_cache.dtype, device=q.device)
    if not out.numel() or not cache_len:
        return out.fill_(torch.nan)
    norms = q_norm_weight, k_norm_weight
    _launch(q, k, v, norms, cos_sin, positions, k_cache, v_cache, eps, scale, split_counter, out)
    return out


def _validate(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    split_counter: Tensor | None,
) -> None:
    sizes = check_shapes(
        "k_cache[B,S,Hkv,D] v_cache[B,S,Hkv,D] q[B,Hq,D] k[B,Hkv,D] v[B,Hkv,D]"
        " q_norm_weight[D] k_norm_weight[D] cos_sin[P,D] positions[B] split_counter[B,Hkv]",
        k_cache=k_cache,
        v_cache=v_cache,
        q=q,
        k=k,
        v=v,
        q_norm_weight=q_norm_weight,
        k_norm_weight=k_norm_weight,
        cos_sin=cos_sin,
        positions=positions,
        split_counter=split_counter,
    )
    require_grouped_heads(sizes["Hq"], sizes["Hkv"])
    if (row_elements := sizes["S"] * sizes["Hkv"] * sizes["D"]) > MAX_ROW_ELEMENTS:
        raise ValueError(f"a row of k_cache must have at most {MAX_ROW_ELEMENTS} elements, has {row_elements}")
    if split_counter is not None and split_counter.dtype != torch.int32:
        raise ValueError(f"split_counter must be int32, is {split_counter.dtype}")
    require_same_dtype(q=q, k=k, v=v)
    require_same_dtype(k_cache=k_cache, v_cache=v_cache)
    require_rope_table(cos_sin)
    require_contiguous_heads(q=q, k=k, v=v)
    require_contiguous_rows(k_cache=k_cache, v_cache=v_cache)
    require_contiguous_last_dim(q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight, positions=positions)
    require_same_device(q=q, k_cache=k_cache, v_cache=v_cache, cos_sin=cos_sin, positions=positions)


def _launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    norms: tuple[Tensor, Tensor],
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor,
    out: Tensor,
) -> None:
    (batch, num_heads, dim), (_, cache_len, kv_heads, _) = q.shape, k_cache.shape
    config = configs.get_config(*config_key(batch, cache_len)).meta()
    max_splits = min(config.pop("MAX_SPLITS"), cdiv(cache_len, config["MIN_KEYS_PER_SPLIT"]))
    partial_out = torch.empty(batch, num_heads, max_splits, dim, dtype=torch.float32, device=q.device)
    m_i, l_i = torch.empty(2, batch, num_heads, max_splits, dtype=torch.float32, device=q.device)
    decode_attention_kernel[kv_heads, max_splits, batch](
        q_ptr=q,
        k_ptr=k,
        v_ptr=v,
        q_norm_ptr=norms[0],
        k_norm_ptr=norms[1],
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
        **_constexprs(num_heads, kv_heads, dim, max_splits),
        **config,
        **pdl.launch_options(),
    )


def _constexprs(num_heads: int, kv_heads: int, dim: int, max_splits: int) -> dict[str, int]:
    """The constexprs that follow from the shapes."""
    gqa_group_size = num_heads // kv_heads
    return {
        "NUM_KV_HEADS": kv_heads,
        "GQA_GROUP_SIZE": gqa_group_size,
        "BLOCK_M": max(16, next_power_of_2(gqa_group_size + 1)),
        "BLOCK_QK": next_power_of_2(gqa_group_size + 1),
        "BLOCK_GQA": next_power_of_2(gqa_group_size),
        "HEAD_DIM": dim,
        "BLOCK_D": max(16, next_power_of_2(dim)),
        "BLOCK_SPLITS": next_power_of_2(max_splits),
    }
