"""Causal grouped-query attention of many queries over contiguous K and V: FlashAttention-2 (``kernel``)."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.attention_prefill.kernel import attention_prefill_kernel
from braidcheck.kernels.common import configs
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device

LOG2E = 1.4426950408889634
LONG = 1024 if INTERPRETED else 4096  # keys from which a program takes more queries


def attention_prefill(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Causal attention; query i sits at position ``q_start + i`` and sees keys up to its own position.

    q[T,Hq,D]; k, v [S,Hkv,D] with S >= q_start + T, Hq a multiple of Hkv; scale >= 0; ``cu_seqlens`` [B+1] int32 or
    int64 packs B sequences into the T = S rows (then q_start is 0). Keys past the last query may hold anything. Returns
    out[T,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k.dim() == 3 and k.shape == v.shape, "q must be [T,Hq,D], k and v [S,Hkv,D] alike")
    require(q.shape[2] == k.shape[2] and q.shape[1] % k.shape[1] == 0, "Hq must be a multiple of Hkv, D the same")
    require(q.dtype == k.dtype == v.dtype, f"q, k, v must have one dtype, are {q.dtype}, {k.dtype}, {v.dtype}")
    require(
        k.shape[0] >= q_start + q.shape[0], f"{q.shape[0]} queries from {q_start} need as many keys, got {k.shape[0]}"
    )
    require(scale >= 0, f"scale must be 0 or more, is {scale}")
    require(cu_seqlens is None or (q_start == 0 and q.shape[0] == k.shape[0]), "cu_seqlens needs q_start 0 and T = S")
    for name, tensor in {"q": q, "k": k, "v": v}.items():
        require(tensor.stride()[1:] == (tensor.shape[2], 1), f"the heads of {name} must be contiguous")
    require_contiguous_last_dim(cu_seqlens=cu_seqlens)
    require_same_device(q=q, k=k, v=v, cu_seqlens=cu_seqlens)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    seq_starts = None if cu_seqlens is None else _sequence_starts(cu_seqlens, q.shape[0])
    if out.numel():
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
    return out


def config_key(tokens: int, keys: int, use_tma: bool) -> configs.Key:
    """The launch config's key for so many queries and keys."""
    if tokens <= 16:
        return "attention_prefill", configs.SMALL_M, configs.ANY
    return "attention_prefill", configs.TILED, configs.LARGE if use_tma and keys > LONG else configs.ANY


def _sequence_starts(cu_seqlens: Tensor, rows: int) -> Tensor:
    """The first row of each row's sequence, int64 [rows]."""
    bounds = cu_seqlens.long()
    index = torch.searchsorted(bounds, torch.arange(rows, device=bounds.device), right=True) - 1
    return bounds[index].contiguous()
