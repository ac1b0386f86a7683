"""RMSNorm with an optional residual add before it.

    s_i = x_i + residual_i
    y_i = s_i / sqrt(mean_j(s_j^2) + eps) * weight_i

Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), https://arxiv.org/abs/1910.07467.

Grid: one program per BLOCK_M rows. Tile: whole rows [BLOCK_M, BLOCK_N], BLOCK_N >= N, kept in registers.
Traffic: x, residual and weight are read once, y and the sum are written once.
Numerics: float32 throughout; y and the sum are rounded once, when they are stored. The unrounded sum is normalised.
Synchronisation (PDL): lets the next kernel start at once and waits for the upstream kernels before all loads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl
from braidcheck.kernels.common.rms_norm import rmsnorm_rows


@triton.jit
def _rms_norm(
    # pointers
    x_ptr,
    residual_ptr,
    weight_ptr,
    y_ptr,
    sum_ptr,
    # sizes
    M,
    N,
    # strides
    stride_xm,
    stride_rm,
    stride_ym,
    # meta
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """RMSNorm of x (+ residual) [M, N]; the sum [M, N] is contiguous."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    offs_n = tl.arange(0, BLOCK_N)
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    # [BLOCK_M, BLOCK_N]
    x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_n[None, :], mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        residual_ptrs = residual_ptr + offs_m[:, None] * stride_rm + offs_n[None, :]
        x += tl.load(residual_ptrs, mask=mask, other=0.0).to(tl.float32)
        tl.store(sum_ptr + offs_m[:, None] * N + offs_n[None, :], x.to(sum_ptr.dtype.element_ty), mask=mask)
    y = rmsnorm_rows(x, weight_ptr, offs_n, N, eps)
    tl.store(y_ptr + offs_m[:, None] * stride_ym + offs_n[None, :], y.to(y_ptr.dtype.element_ty), mask=mask)
