"""The control of all timings: the specification's fused kernel, frozen.

It is implemented as the specification describes it: tiles of 16 rows by 64 outputs, the row norm recomputed for each
tile, products in the weight's dtype, accumulation in float32. It is a yardstick: it is never optimised, and a test pins
its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
    row_mask, in_bounds = rows < num_tokens, columns < outputs
    squares = tl.zeros([BLOCK_T], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = row_mask[:, None] & (k < width)[None, :]
        x = tl.load(x_ptr + rows[:, None] * width + k[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += tl.sum(x * x, axis=1)
    rms = tl.sqrt(squares / width + eps)
    acc = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        mask = row_mask[:, None] & (k < width)[None, :]
        x = tl.load(x_ptr + rows[:, None] * width + k[None, :], mask=mask, other=0.0).to(tl.float32)
        norm = tl.load(norm_ptr + k, mask=k < width, other=0.0).to(tl.float32)
        x = (x / rms[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = (k < width)[:, None] & in_bounds[None, :]
        w = tl.load(weight_ptr + columns[None, :] * width + k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc)
    out = out_ptr + rows[:, None] * outputs + columns[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=row_mask[:, None] & in_bounds[None, :])


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


def control() -> tuple[Callable[..., Any], Inputs, int]:
    """The frozen control: the call, its arguments on the CPU and the bytes that it moves."""
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import arguments, benchmark_case

    op = kernels.find()["rms_norm_qkv"]
    case = benchmark_case("rms_norm_qkv", "512 tokens")
    return documents_norm_qkv, arguments(op, case), op.cost(case).bytes
