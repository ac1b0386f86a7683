"""Fused decode attention of one new token a row: QK norm, RoPE, KV write, split-KV attention (``kernel``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.common import configs, pdl
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import ANY, GEMV, SMALL_M, Key
from braidcheck.kernels.common.specs import EPS, INDICES, SCALE, TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_GRID, Arguments, Sizes
from braidcheck.kernels.decode_attention.kernel import decode_attention_kernel

LOG2E = 1.4426950408889634
MAX_ROW_ELEMENTS = 2**31 - 1  # of a cache: offsets within a row are int32
MAX_FEW_ROWS = 4


def config_key(batch: int, cache_len: int) -> Key:
    """The key of the launch config for ``batch`` rows with caches of ``cache_len`` slots.

    Up to MAX_FEW_ROWS rows are split as a single row is if they have no more slots in all than one short cache: such a
    step is bound by latency, not by bandwidth.
    """
    few = batch <= MAX_FEW_ROWS and configs.size_bucket("decode_attention", batch * cache_len) is ANY
    bucket = configs.size_bucket("decode_attention", cache_len)
    return "decode_attention", GEMV if few else SMALL_M, bucket


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
    ``split_counter`` int32 [B,Hkv] is all zero before and after the call; by default one is made. A position outside
    cache or table gives NaN and writes nothing. Returns out[B,Hq,D] in the caches' dtype. Raises ValueError for
    unsupported arguments.
    """
    ARGUMENTS.check(
        q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale, split_counter
    )
    batch, cache_len, kv_heads, _ = k_cache.shape
    if split_counter is None:
        split_counter = torch.zeros(batch, kv_heads, dtype=torch.int32, device=q.device)
    out = torch.empty(q.shape, dtype=k_cache.dtype, device=q.device)
    if not out.numel() or not cache_len:
        return out.fill_(torch.nan)
    norms = q_norm_weight, k_norm_weight
    _launch(q, k, v, norms, cos_sin, positions, k_cache, v_cache, eps, scale, split_counter, out)
    return out


def _require_short_rows(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    if (row_elements := sizes["S"] * sizes["Hkv"] * sizes["D"]) > MAX_ROW_ELEMENTS:
        raise ValueError(f"a row of k_cache must have at most {MAX_ROW_ELEMENTS} elements, has {row_elements}")


ARGUMENTS = Arguments(
    {
        "q": TensorSpec("B,Hq,D", contiguous=2),
        "k": TensorSpec("B,Hkv,D", ("q",), contiguous=2),
        "v": TensorSpec("B,Hkv,D", ("q",), contiguous=2),
        "q_norm_weight": TensorSpec("D"),
        "k_norm_weight": TensorSpec("D"),
        "cos_sin": TensorSpec("P,D", (torch.float32,), contiguous=2),
        "positions": TensorSpec("B", INDICES),
        "k_cache": TensorSpec("B,S,Hkv,D", contiguous=3, written=True),
        "v_cache": TensorSpec("B,S,Hkv,D", ("k_cache",), contiguous=3, written=True),
        "eps": EPS,
        "scale": SCALE,
        "split_counter": TensorSpec("B,Hkv", (torch.int32,), contiguous=2, optional=True, written=True),
    },
    axes={"B": (0, MAX_GRID), "Hq": (1, MAX_AXIS), "Hkv": (1, MAX_AXIS), "D": (2, MAX_AXIS)},
    multiples={"Hq": "Hkv", "D": 2},
    rules=(_require_short_rows,),
)


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
