"""``cache_write``: the new tokens' K and V into the KV cache, in place."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.cache_write.kernel import _cache_write
from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.validation import (
    check_shapes,
    require_contiguous_heads,
    require_contiguous_last_dim,
    require_contiguous_rows,
    require_same_device,
    require_same_dtype,
)


def cache_write(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """Copy k[t], v[t] to ``k_cache[rows[t], slots[t]]``, ``v_cache[rows[t], slots[t]]``, in place.

    k, v [T,Hkv,D]; caches [B,S,Hkv,D] of the same dtype; rows, slots [T] int32 or int64, each pair at most once.
    Pairs outside the cache are not written. Raises ValueError for shapes, strides or dtypes it cannot serve.
    """
    check_shapes(
        "k[T,Hkv,D] v[T,Hkv,D] k_cache[B,S,Hkv,D] v_cache[B,S,Hkv,D] rows[T] slots[T]",
        k=k,
        v=v,
        k_cache=k_cache,
        v_cache=v_cache,
        rows=rows,
        slots=slots,
    )
    require_same_dtype(k=k, v=v, k_cache=k_cache, v_cache=v_cache)
    require_contiguous_heads(k=k, v=v)
    require_contiguous_rows(k_cache=k_cache, v_cache=v_cache)
    require_contiguous_last_dim(rows=rows, slots=slots)
    require_same_device(k=k, v=v, k_cache=k_cache, v_cache=v_cache, rows=rows, slots=slots)
    num_tokens, num_heads, head_dim = k.shape
    if num_tokens:
        config = get_config("cache_write")
        _cache_write[(cdiv(num_tokens, config.block_m),)](
            k_ptr=k,
            v_ptr=v,
            k_cache_ptr=k_cache,
            v_cache_ptr=v_cache,
            rows_ptr=rows,
            slots_ptr=slots,
            num_tokens=num_tokens,
            batch=k_cache.shape[0],
            capacity=k_cache.shape[1],
            stride_km=k.stride(0),
            stride_vm=v.stride(0),
            stride_k_cache_b=k_cache.stride(0),
            stride_v_cache_b=v_cache.stride(0),
            N=num_heads * head_dim,
            BLOCK_N=next_power_of_2(num_heads * head_dim),
            **config.meta(),
        )
