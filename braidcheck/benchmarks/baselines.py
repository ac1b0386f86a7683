"""What the ops are held against: PyTorch's separate operations, and the specification's own fused kernel, frozen.

The fused kernel is re-implemented as the specification describes it: blocks of 16 rows by 64 outputs, the row's norm
computed again for each block of outputs, products in the weight's dtype, accumulation in float32. It is a measuring
stick: it is never made faster, and a test holds its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.op import Inputs

CONTROL = "the specification's fused RMSNorm + QKV, 512 tokens"


@triton.jit
def _fused_norm_qkv(
    x_ptr, norm_ptr, weight_ptr, out_ptr, num_tokens, width: tl.constexpr, outputs: tl.constexpr, eps: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    there, wanted = rows < num_tokens, columns < outputs
    squares = tl.zeros([BLOCK_T], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = there[:, None] & (k < width)[None, :]
        x = tl.load(x_ptr + rows[:, None] * width + k[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += tl.sum(x * x, axis=1)
    rms = tl.sqrt(squares / width + eps)
    acc = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = there[:, None] & (k < width)[None, :]
        x = tl.load(x_ptr + rows[:, None] * width + k[None, :], mask=mask, other=0.0).to(tl.float32)
        norm = tl.load(norm_ptr + k, mask=k < width, other=0.0).to(tl.float32)
        x = (x / rms[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = (k < width)[:, None] & wanted[None, :]
        w = tl.load(weight_ptr + columns[None, :] * width + k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc)
    out = out_ptr + rows[:, None] * outputs + columns[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=there[:, None] & wanted[None, :])


def documents_norm_qkv(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, eps: float, num_heads: int, num_kv_heads: int, head_dim: int
) -> tuple[Tensor, ...]:
    """The specification's fused RMSNorm + QKV: x[T,H], contiguous; q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D] as views."""
    outputs, width = qkv_weight.shape
    out = torch.empty(x.shape[0], outputs, dtype=x.dtype, device=x.device)
    _fused_norm_qkv[triton.cdiv(x.shape[0], 16), triton.cdiv(outputs, 64)](
        x, norm_weight, qkv_weight, out, x.shape[0], width=width, outputs=outputs, eps=eps,
        BLOCK_T=16, BLOCK_N=64, BLOCK_K=64,
    )  # fmt: skip
    heads = out.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def eager_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm in float32 throughout, an operation at a time."""
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * weight.float()


def eager_norm_qkv(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, eps: float, num_heads: int, num_kv_heads: int, head_dim: int
) -> tuple[Tensor, ...]:
    """RMSNorm, then the projection, then the split."""
    qkv = F.linear(eager_rms_norm(x, norm_weight, eps).to(qkv_weight.dtype), qkv_weight)
    heads = qkv.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def eager_rope(x: Tensor, cos_sin: Tensor, positions: Tensor) -> Tensor:
    """Rotate x[T,heads,D] by the table's rows at ``positions``."""
    half = x.shape[-1] // 2
    cos, sin = cos_sin[positions].to(x.dtype)[:, None].split(half, dim=-1)
    first, second = x.split(half, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def eager_attention_block(
    hidden: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    o_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    eps: float,
    scale: float,
) -> Tensor:
    """The specification's six phases as separate operations, one row of cache filled to its capacity.

    hidden[T,H] are the row's last T tokens; the softmax is taken of stored scores, as the specification writes it.
    """
    tokens, capacity = hidden.shape[0], k_cache.shape[1]
    q, k, v = eager_norm_qkv(hidden, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim)
    q = eager_rope(eager_rms_norm(q, q_norm_weight, eps).to(q.dtype), cos_sin, positions)
    k = eager_rope(eager_rms_norm(k, k_norm_weight, eps).to(k.dtype), cos_sin, positions)
    k_cache[0, capacity - tokens :] = k
    v_cache[0, capacity - tokens :] = v
    keys, values = (
        cache[0].transpose(0, 1).repeat_interleave(num_heads // num_kv_heads, dim=0) for cache in (k_cache, v_cache)
    )
    scores = q.transpose(0, 1) @ keys.transpose(1, 2) * scale
    if tokens > 1:
        hidden_keys = torch.ones(tokens, capacity, dtype=torch.bool, device=q.device).triu(capacity - tokens + 1)
        scores = scores.masked_fill(hidden_keys, float("-inf"))
    heads = scores.float().softmax(-1).to(values.dtype) @ values
    return F.linear(heads.transpose(0, 1).reshape(tokens, -1), o_weight)


def control() -> tuple[Callable[..., Any], Inputs, int]:
    """The frozen control: a call, its arguments on the CPU and the bytes it touches."""
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import arguments, benchmark_case

    op = kernels.find()["rms_norm_qkv"]
    case = benchmark_case("rms_norm_qkv", "512 tokens")
    return documents_norm_qkv, arguments(op, case), op.cost(case).bytes
