"""Causal grouped-query attention of many queries over contiguous K and V: FlashAttention-2 (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.attention_prefill.kernel import attention_prefill_kernel
from braidcheck.kernels.common import configs
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.validation import (
    check_shapes,
    require_contiguous_heads,
    require_contiguous_last_dim,
    require_grouped_heads,
    require_same_device,
    require_same_dtype,
)

LOG2E = 1.4426950408889634


def attention_prefill(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Causal attention; query i sits at position ``q_start + i`` and sees keys up to its own position.

    q[T,Hq,D]; k, v [S,Hkv,D] with S >= q_start + T, Hq a multiple of Hkv; scale >= 0; ``cu_seqlens`` [B+1] int32 or
    int64 packs B sequences into the T = S rows (then q_start is 0). Keys past the last query may hold anything. Returns
    out[T,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    _validate(q, k, v, scale, q_start, cu_seqlens)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    seq_starts = None if cu_seqlens is None else _sequence_starts(cu_seqlens, q.shape[0])
    if out.numel():
        _launch(q, k, v, scale, q_start, seq_starts, out)
    return out


def _validate(q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int, cu_seqlens: Tensor | None) -> None:
    sizes = check_shapes("q[T,Hq,D] k[S,Hkv,D] v[S,Hkv,D] cu_seqlens[N]", q=q, k=k, v=v, cu_seqlens=cu_seqlens)
    require_grouped_heads(sizes["Hq"], sizes["Hkv"])
    require_same_dtype(q=q, k=k, v=v)
    if sizes["S"] < q_start + sizes["T"]:
        raise ValueError(f"{sizes['T']} queries from {q_start} on need as many keys, k has {sizes['S']}")
    if not scale >= 0:
        raise ValueError(f"scale must be 0 or more, is {scale}")
    if cu_seqlens is not None and (q_start or sizes["T"] != sizes["S"]):
        raise ValueError(f"cu_seqlens needs q_start 0 and T = S, are {q_start}, {sizes['T']} and {sizes['S']}")
    require_contiguous_heads(q=q, k=k, v=v)
    require_contiguous_last_dim(cu_seqlens=cu_seqlens)
    require_same_device(q=q, k=k, v=v, cu_seqlens=cu_seqlens)


def _launch(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int, seq_starts: Tensor | None, out: Tensor
) -> None:
    block_d = max(16, next_power_of_2(q.shape[2]))
    use_tma = block_d == q.shape[2] and all(map(many.can_use_tma, (q, k, v)))
    k, v = k[: q_start + len(q)], v[: q_start + len(q)]
    config = configs.get_config(*config_key(len(q), len(k), use_tma)).meta()
    sources = q, k, v
    if use_tma:
        rows = config["BLOCK_M"], config["BLOCK_N"], config["BLOCK_N"]
        sources = [many.tensor_descriptor(x, count, 1, block_d) for x, count in zip(sources, rows, strict=True)]
    attention_prefill_kernel[q.shape[1], cdiv(len(q), config["BLOCK_M"])](
        q_ptr=sources[0],
        k_ptr=sources[1],
        v_ptr=sources[2],
        seq_starts_ptr=seq_starts,
        out_ptr=out,
        num_tokens=len(q),
        q_start=q_start,
        qk_scale=scale * LOG2E,
        stride_qt=q.stride(0),
        stride_ks=k.stride(0),
        stride_vs=v.stride(0),
        GQA_GROUP_SIZE=q.shape[1] // k.shape[1],
        HEAD_DIM=q.shape[2],
        BLOCK_D=block_d,
        PACKED=seq_starts is not None,
        USE_TMA=use_tma,
        **config,
    )


def config_key(tokens: int, keys: int, use_tma: bool) -> configs.Key:
    """The launch config's key for so many queries and keys."""
    if tokens <= 16:
        return "attention_prefill", configs.SMALL_M, configs.ANY
    bucket = configs.size_bucket("attention_prefill", keys) if use_tma else configs.ANY
    return "attention_prefill", configs.TILED, bucket


def _sequence_starts(cu_seqlens: Tensor, rows: int) -> Tensor:
    """The first row of each row's sequence, int64 [rows]."""
    bounds = cu_seqlens.long()
    index = torch.searchsorted(bounds, torch.arange(rows, device=bounds.device), right=True) - 1
    return bounds[index].contiguous()
