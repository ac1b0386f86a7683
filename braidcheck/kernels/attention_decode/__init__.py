"""Grouped-query attention of one query a row over its KV cache: Flash-Decoding, in two launches (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.attention_decode.kernel import attention_decode_combine_kernel, attention_decode_split_kernel
from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import INDICES, SCALE, TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_GRID, Arguments

LOG2E = 1.4426950408889634
ARGUMENTS = Arguments(
    {
        "q": TensorSpec("B,Hq,D", contiguous=2),
        "k_cache": TensorSpec("B,S,Hkv,D", ("q",), contiguous=3),
        "v_cache": TensorSpec("B,S,Hkv,D", ("q",), contiguous=3),
        "lengths": TensorSpec("B", INDICES),
        "scale": SCALE,
    },
    axes={"Hq": (1, MAX_AXIS), "Hkv": (1, MAX_GRID)},
    multiples={"Hq": "Hkv"},
)


def attention_decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Attention of one query a row over the first ``lengths[b]`` slots of its cache.

    q[B,Hq,D]; caches [B,S,Hkv,D] of q's dtype; lengths[B] int32 or int64, the new token included; 0 or less gives
    zeros; scale > 0. Slots at and past a length are never read. The number of splits depends on S alone, so a row's
    result does not depend on its neighbours. Returns out[B,Hq,D] in q's dtype. Raises ValueError for unsupported
    arguments.
    """
    sizes = ARGUMENTS.check(q, k_cache, v_cache, lengths, scale)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if not sizes["S"]:
        return out.zero_()
    if out.numel():
        _combine(*_attend_splits(q, k_cache, v_cache, lengths, scale), out)
    return out


def _attend_splits(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Each split's output [B,Hq,num_splits,D], not normalised, and its m_i and l_i [B,Hq,num_splits]: float32."""
    (batch, num_heads, dim), (_, cache_len, kv_heads, _) = q.shape, k_cache.shape
    meta = get_config("attention_decode").meta()
    block_n, max_splits = meta["BLOCK_N"], meta.pop("MAX_SPLITS")
    num_splits = min(max_splits, cdiv(cache_len, 2 * block_n))
    keys_per_split = cdiv(cdiv(cache_len, num_splits), block_n) * block_n
    gqa_group_size = num_heads // kv_heads
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
        BLOCK_D=max(16, next_power_of_2(dim)),
        **meta,
    )
    return partial_out, m_i, l_i


def _combine(partial_out: Tensor, m_i: Tensor, l_i: Tensor, out: Tensor) -> None:
    """The splits of each query head into out[B,Hq,D]."""
    batch, num_heads, num_splits, dim = partial_out.shape
    attention_decode_combine_kernel[(batch * num_heads,)](
        partial_out_ptr=partial_out,
        m_ptr=m_i,
        l_ptr=l_i,
        out_ptr=out,
        num_splits=num_splits,
        HEAD_DIM=dim,
        BLOCK_D=max(16, next_power_of_2(dim)),
        BLOCK_SPLITS=next_power_of_2(num_splits),
    )
