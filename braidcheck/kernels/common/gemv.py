"""Weight-stationary GEMV: x @ weight.T of one row of x, with whole rows of the weight in registers.

A program loads BLOCK_N whole rows of the weight, which is nearly all of the HBM traffic, as NUM_K_TILES tiles
[BLOCK_N, BLOCK_K]. With PDL (``pdl``) it does so before the upstream kernel has ended, so that HBM is busy while that
one finishes. x is multiplied by FMAs, each thread its own part of K, and summed once at the end.

Cast points: products and their sum are float32. With a norm the operand stays float32 and is divided by the norm after
the product.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import Regime
from braidcheck.kernels.common.rms_norm import tile_squares

MAX_K = 4096  # a row of the weight must fit in registers
MIN_BLOCK_K, MAX_BLOCK_K = 32, 1024


def supports_gemv(x: Tensor, weight: Tensor) -> bool:
    """Whether this kernel takes ``x @ weight.T``, x[M,K]."""
    m, k = x.shape
    return m == 1 and k <= MAX_K


def gemv_config(op: str, x: Tensor) -> dict[str, int]:
    """The constexprs and launch options of an op's GEMV kernel for x[1,K]."""
    k = x.shape[1]
    block_k = max(MIN_BLOCK_K, min(MAX_BLOCK_K, next_power_of_2(k)))
    return get_config(op, Regime.GEMV).meta() | {"K": k, "BLOCK_K": block_k, "NUM_K_TILES": cdiv(k, block_k)}


@triton.jit
def load_rows(ptr, offs, mask, stride, K: tl.constexpr, BLOCK_K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """The rows ``offs`` [R] of a matrix [..., K] in registers: a tuple of NUM_K_TILES tiles [R, BLOCK_K]."""
    tiles = ()
    for index in tl.static_range(NUM_K_TILES):
        offs_k = index * BLOCK_K + tl.arange(0, BLOCK_K)
        tile_mask = mask[:, None] & (offs_k < K)[None, :]
        tile = tl.load(ptr + offs[:, None] * stride + offs_k[None, :], mask=tile_mask, other=0.0)  # [R, BLOCK_K]
        tiles = tiles + (tile,)  # noqa: RUF005 Triton's compiler knows no unpacking
    return tiles


@triton.jit
def load_row(ptr, K: tl.constexpr, BLOCK_K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """A vector [K] in registers: a tuple of NUM_K_TILES tiles [1, BLOCK_K]."""
    first = tl.arange(0, 1)
    return load_rows(ptr, first, first == 0, 0, K, BLOCK_K, NUM_K_TILES)


@triton.jit
def gemv_dot(x, weight, NUM_K_TILES: tl.constexpr):
    """x @ weight.T of tiles in registers, x [1, BLOCK_K] and weight [BLOCK_N, BLOCK_K]: float32 [1, BLOCK_N]."""
    products = weight[0].to(tl.float32) * x[0].to(tl.float32)  # [BLOCK_N, BLOCK_K]
    for index in tl.static_range(1, NUM_K_TILES):
        products += weight[index].to(tl.float32) * x[index].to(tl.float32)
    return tl.sum(products, axis=1)[None, :]


@triton.jit
def rmsnorm_gemv_dot(x, norm_weight, weight, eps, K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """rms_norm(x) @ weight.T of tiles in registers: float32 [1, BLOCK_N]."""
    tiles, rstd = rmsnorm_tiles(x, norm_weight, eps, K, NUM_K_TILES)
    return gemv_dot(tiles, weight, NUM_K_TILES) * rstd


@triton.jit
def rmsnorm_tiles(x, norm_weight, eps, K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """The tiles of x, weighted, and the factor 1 / RMS [1, 1] that their product still needs: so the products do not
    wait for the sum of squares."""
    squares = tile_squares(x, NUM_K_TILES)  # [1, BLOCK_K]
    rstd = 1.0 / tl.sqrt(tl.sum(squares, axis=1) / K + eps)[:, None]  # [1, 1]
    tiles = ()
    for index in tl.static_range(NUM_K_TILES):
        tile = x[index].to(tl.float32) * norm_weight[index].to(tl.float32)  # [1, BLOCK_K]
        tiles = tiles + (tile,)  # noqa: RUF005
    return tiles, rstd
