"""Causal grouped-query attention of many queries over contiguous K and V: FlashAttention-2 (``kernel``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from braidcheck.kernels.attention_prefill.kernel import attention_prefill_kernel
from braidcheck.kernels.common import configs, pdl
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import ANY, SMALL_M, TILED, Key
from braidcheck.kernels.common.specs import INDICES, SCALE, NumberSpec, TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_TOKENS, Arguments, Sizes

LOG2E = 1.4426950408889634


def attention_prefill(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Causal attention; query i sits at position ``q_start + i`` and sees keys up to its own position.

    q[T,Hq,D]; k, v [S,Hkv,D] with S >= q_start + T, Hq a multiple of Hkv; scale > 0; ``cu_seqlens`` [B+1] int32 or
    int64 packs B sequences into the T = S rows (then q_start is 0). Keys past the last query may hold anything. Returns
    out[T,Hq,D] in q's dtype. Raises ValueError for unsupported arguments.
    """
    ARGUMENTS.check(q, k, v, scale, q_start, cu_seqlens)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    seq_starts = None if cu_seqlens is None else _sequence_starts(cu_seqlens, q.shape[0])
    if out.numel():
        _launch(q, k, v, scale, q_start, seq_starts, out)
    return out


def _require_keys(sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    if sizes["S"] < arguments["q_start"] + sizes["T"]:
        raise ValueError(
            f"{sizes['T']} queries of q from q_start={arguments['q_start']} on need as many keys, k has {sizes['S']}"
        )
    if arguments["cu_seqlens"] is not None and (arguments["q_start"] or sizes["T"] != sizes["S"]):
        raise ValueError(
            f"cu_seqlens needs q_start 0 and as many queries in q as keys in k,"
            f" are {arguments['q_start']}, {sizes['T']} and {sizes['S']}"
        )


ARGUMENTS = Arguments(
    {
        "q": TensorSpec("T,Hq,D", contiguous=2),
        "k": TensorSpec("S,Hkv,D", ("q",), contiguous=2),
        "v": TensorSpec("S,Hkv,D", ("q",), contiguous=2),
        "scale": SCALE,
        "q_start": NumberSpec(0, MAX_AXIS, whole=True),
        "cu_seqlens": TensorSpec("N", INDICES, optional=True),
    },
    axes={"T": (0, MAX_TOKENS), "Hq": (1, MAX_AXIS), "Hkv": (1, MAX_AXIS), "N": (1, MAX_AXIS)},
    multiples={"Hq": "Hkv"},
    rules=(_require_keys,),
)


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
        **pdl.launch_options(),
    )


def config_key(tokens: int, keys: int, use_tma: bool) -> Key:
    """The key of the launch config. Only with TMA are many keys tuned apart from few."""
    if tokens <= 16:
        return "attention_prefill", SMALL_M, ANY
    bucket = configs.size_bucket("attention_prefill", keys) if use_tma else ANY
    return "attention_prefill", TILED, bucket


def _sequence_starts(cu_seqlens: Tensor, rows: int) -> Tensor:
    """The first row of each row's sequence, int64 [rows]."""
    bounds = cu_seqlens.long()
    index = torch.searchsorted(bounds, torch.arange(rows, device=bounds.device), right=True) - 1
    return bounds[index].contiguous()
