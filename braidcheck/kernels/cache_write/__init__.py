"""``cache_write``: the new tokens' K and V into the KV cache, in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from braidcheck.kernels.cache_write.kernel import _cache_write
from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import INDICES, TensorSpec
from braidcheck.kernels.common.validation import MAX_ROW, Arguments, Sizes


def _require_short_tokens(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    if sizes["Hkv"] * sizes["D"] > MAX_ROW:
        raise ValueError(f"a token of k must have at most {MAX_ROW} elements, has {sizes['Hkv'] * sizes['D']}")


ARGUMENTS = Arguments(
    {
        "k": TensorSpec("T,Hkv,D", contiguous=2),
        "v": TensorSpec("T,Hkv,D", ("k",), contiguous=2),
        "k_cache": TensorSpec("B,S,Hkv,D", ("k",), contiguous=3, written=True),
        "v_cache": TensorSpec("B,S,Hkv,D", ("k",), contiguous=3, written=True),
        "rows": TensorSpec("T", INDICES),
        "slots": TensorSpec("T", INDICES),
    },
    axes={"Hkv": (1, MAX_ROW), "D": (1, MAX_ROW)},
    rules=(_require_short_tokens,),
)


def cache_write(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """Copy k[t], v[t] to ``k_cache[rows[t], slots[t]]``, ``v_cache[rows[t], slots[t]]``, in place.

    k, v [T,Hkv,D]; caches [B,S,Hkv,D] of the same dtype; rows, slots [T] int32 or int64, each pair at most once.
    Pairs outside the cache are not written. Raises ValueError for unsupported shapes, strides or dtypes.
    """
    ARGUMENTS.check(k, v, k_cache, v_cache, rows, slots)
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
            **pdl.launch_options(),
        )
