"""RMSNorm on the device, alone and as the prologue of a projection: y = x / sqrt(mean(x^2) + eps) * weight.

A norm that is fused with a projection is a first pass over the tile's own rows: every tile of outputs computes it
again, from the L2 cache, so that no normalised copy of x goes through HBM. The second pass normalises each tile of x on
its way into the product. Sums and products are float32; a normalised tile is rounded once, to the weight's dtype.
"""

from __future__ import annotations

import triton
import triton.language as tl

DEFAULT_EPS = 1e-6


@triton.constexpr_function
def rmsnorm_block_k(block_m: int, block_k: int) -> int:
    """BLOCK_K of the pass that sums squares: of few rows many columns, since each step waits for memory."""
    return max(block_k, 1024) if block_m <= 16 else block_k


@triton.jit
def rmsnorm_rstd(x_ptr, offs_m, m_mask, stride_xm, K, eps, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """1 / sqrt(mean(x^2) + eps) of the rows ``offs_m`` of x[M, K]: float32 [BLOCK_M]."""
    squares = tl.zeros([BLOCK_M, BLOCK_K], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        offs_k = start_k + tl.arange(0, BLOCK_K)
        mask = m_mask[:, None] & (offs_k < K)[None, :]
        # [BLOCK_M, BLOCK_K]
        x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += x * x
    return 1.0 / tl.sqrt(tl.sum(squares, axis=1) / K + eps)


@triton.jit
def rmsnorm_rows(x, weight_ptr, offs_k, K, eps):
    """RMSNorm of whole rows x[BLOCK_M, BLOCK_K], float32, zero past column K; weight [K]."""
    rstd = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / K + eps)  # [BLOCK_M]
    weight = tl.load(weight_ptr + offs_k, mask=offs_k < K, other=0.0).to(tl.float32)  # [BLOCK_K]
    return x * rstd[:, None] * weight[None, :]


@triton.jit
def tile_squares(tiles, NUM_K_TILES: tl.constexpr):
    """The squares of x in tiles along K, added up tile by tile: float32, of one tile's shape."""
    squares = tiles[0].to(tl.float32) * tiles[0].to(tl.float32)
    for index in tl.static_range(1, NUM_K_TILES):
        squares += tiles[index].to(tl.float32) * tiles[index].to(tl.float32)
    return squares


@triton.jit
def tile_dot(
    # x and the rows of its tile
    x_ptr,  # [M, K]
    offs_m,
    m_mask,
    stride_xm,
    # weight and the rows of its tile
    weight_ptr,  # [N, K]
    offs_n,
    n_mask,
    stride_wn,
    # sizes
    K,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """x[offs_m] @ weight[offs_n].T through pointers: float32 [BLOCK_M, BLOCK_N]. No TF32."""
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        offs_k = start_k + tl.arange(0, BLOCK_K)
        k_mask = offs_k < K
        x_mask = m_mask[:, None] & k_mask[None, :]
        # [BLOCK_M, BLOCK_K]
        x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=x_mask, other=0.0)
        w_mask = k_mask[:, None] & n_mask[None, :]
        # [BLOCK_K, BLOCK_N]
        w = tl.load(weight_ptr + offs_n[None, :] * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    return acc


@triton.jit
def rmsnorm_tile_dot(
    # x and the rows of its tile
    x_ptr,  # [M, K]
    offs_m,
    m_mask,
    stride_xm,
    norm_weight_ptr,  # [K]
    # weight and the rows of its tile
    weight_ptr,  # [N, K]
    offs_n,
    n_mask,
    stride_wn,
    # sizes
    K,
    eps,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """rms_norm(x[offs_m]) @ weight[offs_n].T: float32 [BLOCK_M, BLOCK_N]; the operand is rounded to weight's dtype."""
    NORM_BLOCK_K: tl.constexpr = rmsnorm_block_k(BLOCK_M, BLOCK_K)
    rstd = rmsnorm_rstd(x_ptr, offs_m, m_mask, stride_xm, K, eps, BLOCK_M, NORM_BLOCK_K)  # [BLOCK_M]
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        offs_k = start_k + tl.arange(0, BLOCK_K)
        k_mask = offs_k < K
        x_mask = m_mask[:, None] & k_mask[None, :]
        # [BLOCK_M, BLOCK_K]
        x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=x_mask, other=0.0)
        norm_weight = tl.load(norm_weight_ptr + offs_k, mask=k_mask, other=0.0).to(tl.float32)  # [BLOCK_K]
        x = (x.to(tl.float32) * rstd[:, None] * norm_weight[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & n_mask[None, :]
        # [BLOCK_K, BLOCK_N]
        w = tl.load(weight_ptr + offs_n[None, :] * stride_wn + offs_k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    return acc
