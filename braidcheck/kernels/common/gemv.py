"""Weight-stationary GEMV: x @ weight.T of 1 to MAX_M rows of x, with whole rows of the weight in registers.

A program loads BLOCK_N whole rows of the weight, which is nearly all of the HBM traffic, as NUM_K_TILES tiles
[BLOCK_N, BLOCK_K]. With PDL (``pdl``) it does so before the upstream kernel has ended, so that HBM is busy while that
one finishes. One row of x is multiplied by FMAs, each thread its own part of K, and summed once at the end; 2 to MAX_M
rows are padded to one tensor-core tile, with all of K in one tile. Their weight goes from HBM to the registers from
which the tensor core reads it, without a detour through shared memory (``load_fragments``).

Cast points: the products and their sum are float32. With a norm the operand of one row stays float32 and is divided by
the norm after the product; several rows are normalised and rounded to the weight's dtype first.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import Regime

MAX_M = 16  # rows of one tensor-core tile
MAX_K, MAX_K_SMALL_M = 4096, 1024  # of one row of x, and of several: a weight row must fit in registers beside them
MAX_BLOCK_K = 1024
MIN_BLOCK_K = 32  # numbers of K in two steps of a tensor core (``in_fragment_order``)
# Which of two axes along which nothing is contiguous gets the neighbouring threads: Triton 3.6 takes the first, 3.7 the
# second. With the other one the numbers are right, but pass through shared memory.
ROWS_AXIS = tl.constexpr(int(tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 7)))


def supports_gemv(x: Tensor, weight: Tensor) -> bool:
    """Whether this kernel takes ``x @ weight.T``, x[M,K]."""
    m, k = x.shape
    if m == 1:
        return k <= MAX_K
    return 1 < m <= MAX_M and weight.element_size() == 2 and k <= MAX_K_SMALL_M


def gemv_config(op: str, x: Tensor) -> dict[str, int]:
    """The constexprs and launch options of an op's GEMV kernel for x[M,K]."""
    regime = Regime.GEMV if len(x) == 1 else Regime.SMALL_M
    return get_config(op, regime).meta() | gemv_tiles(*x.shape)


def gemv_tiles(m: int, k: int) -> dict[str, int]:
    """The constexprs that follow from x[M,K]: the rows of a program and the tiles of K."""
    block_k = max(MIN_BLOCK_K, min(MAX_BLOCK_K, next_power_of_2(k)))
    return {"BLOCK_M": 1 if m == 1 else MAX_M, "K": k, "BLOCK_K": block_k, "NUM_K_TILES": cdiv(k, block_k)}


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
def load_weight(
    ptr, offs, mask, stride, BLOCK_M: tl.constexpr, K: tl.constexpr, BLOCK_K: tl.constexpr, NUM_K_TILES: tl.constexpr
):
    """The rows ``offs`` [R] of a weight [..., K] in registers, as ``gemv_dot`` takes it beside BLOCK_M rows of x."""
    if BLOCK_M == 1:
        tiles = load_rows(ptr, offs, mask, stride, K, BLOCK_K, NUM_K_TILES)
    else:
        tl.static_assert(NUM_K_TILES == 1, "registers hold one tile of the weight beside several rows of x")
        tiles = (load_fragments(ptr, offs, mask, stride, 0, K, BLOCK_K),)
    return tiles


@triton.jit
def load_fragments(ptr, offs, mask, stride, start_k, K, BLOCK_K: tl.constexpr):
    """The rows ``offs`` [R] of a matrix [..., K], its columns start_k to start_k + BLOCK_K, ``in_fragment_order``."""
    R: tl.constexpr = offs.shape[0]
    offs_k = start_k + 32 * tl.arange(0, BLOCK_K // 32)[:, None] + tl.arange(0, 32)[None, :]  # [BLOCK_K // 32, 32]
    # Of the last axis four threads read 16 bytes each, of the rows' axis eight read a row each.
    columns = tl.expand_dims(offs_k, ROWS_AXIS)  # [1, BLOCK_K // 32, 32] or [BLOCK_K // 32, 1, 32]
    rows = tl.expand_dims(offs[:, None], 1 - ROWS_AXIS)  # [R, 1, 1] or [1, R, 1]
    tile_mask = tl.expand_dims(mask[:, None], 1 - ROWS_AXIS) & (columns < K)
    tile = tl.load(ptr + rows * stride + columns, mask=tile_mask, other=0.0)
    tile = tl.permute(tile, [ROWS_AXIS, 1 - ROWS_AXIS, 2])  # [R, BLOCK_K // 32, 32]
    return in_fragment_order(tl.reshape(tile, [R, BLOCK_K]), R, BLOCK_K)


@triton.jit
def in_fragment_order(tile, R: tl.constexpr, BLOCK_K: tl.constexpr):
    """A tile [R, BLOCK_K] of 16-bit numbers with each 32 columns in the order in which a tensor core's threads have
    them: 4 threads j of 8 numbers each become 8 numbers of 4 threads.

    A thread reads 8 numbers that lie side by side, k = 8j to 8j + 7. Of two products m16n8k16 it must hold k = 2j,
    2j + 1, 2j + 8, 2j + 9 and the same plus 16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"). A sum has any order:
    where both operands call the first numbers by the second names, no number has to change its thread.
    """
    threads = tl.reshape(tile, [R, BLOCK_K // 32, 4, 2, 2, 2])  # of a thread: step, half of a step, number of a pair
    return tl.reshape(tl.permute(threads, [0, 1, 3, 4, 2, 5]), [R, BLOCK_K])


@triton.jit
def load_row(ptr, K: tl.constexpr, BLOCK_K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """A vector [K] in registers: a tuple of NUM_K_TILES tiles [1, BLOCK_K]."""
    first = tl.arange(0, 1)
    return load_rows(ptr, first, first == 0, 0, K, BLOCK_K, NUM_K_TILES)


@triton.jit
def gemv_dot(x, weight, BLOCK_M: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """x @ weight.T of tiles in registers, x [BLOCK_M, BLOCK_K] and weight [BLOCK_N, BLOCK_K] (``load_weight``):
    float32."""
    if BLOCK_M == 1:
        products = weight[0].to(tl.float32) * x[0].to(tl.float32)  # [BLOCK_N, BLOCK_K]
        for index in tl.static_range(1, NUM_K_TILES):
            products += weight[index].to(tl.float32) * x[index].to(tl.float32)
        acc = tl.sum(products, axis=1)[None, :]  # [1, BLOCK_N]
    else:
        rows = in_fragment_order(x[0], BLOCK_M, x[0].shape[1])
        # The option concerns 8-bit operands only. With 0 Triton would fold a following sum with a residual or a bias
        # into the product, and a tensor core cuts each product off below the last bits of its largest term.
        acc = tl.dot(rows, tl.trans(weight[0]), input_precision="ieee", max_num_imprecise_acc=1)  # [BLOCK_M, BLOCK_N]
    return acc


@triton.jit
def rmsnorm_gemv_dot(x, norm_weight, weight, eps, BLOCK_M: tl.constexpr, K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """rms_norm(x) @ weight.T of tiles in registers: float32 [BLOCK_M, BLOCK_N]."""
    tiles, scale = rmsnorm_tiles(x, norm_weight, weight[0].dtype, eps, BLOCK_M, K, NUM_K_TILES)
    return gemv_dot(tiles, weight, BLOCK_M, NUM_K_TILES) * scale


@triton.jit
def rmsnorm_tiles(
    x, norm_weight, dtype: tl.constexpr, eps, BLOCK_M: tl.constexpr, K: tl.constexpr, NUM_K_TILES: tl.constexpr
):
    """rms_norm(x) of tiles in registers, and the factor [BLOCK_M, 1] that its products still need.

    Several rows are normalised and rounded to ``dtype``. One row is only weighted: its factor is 1 / RMS, so that the
    products do not wait for the sum of squares.
    """
    squares = x[0].to(tl.float32) * x[0].to(tl.float32)  # [BLOCK_M, BLOCK_K]
    for index in tl.static_range(1, NUM_K_TILES):
        squares += x[index].to(tl.float32) * x[index].to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(squares, axis=1) / K + eps)[:, None]  # [BLOCK_M, 1]
    tiles = ()
    for index in tl.static_range(NUM_K_TILES):
        tile = x[index].to(tl.float32) * norm_weight[index].to(tl.float32)  # [BLOCK_M, BLOCK_K]
        if BLOCK_M > 1:
            tile = (tile * rstd).to(dtype)
        tiles = tiles + (tile,)  # noqa: RUF005
    scale = rstd
    if BLOCK_M > 1:
        scale = tl.full([BLOCK_M, 1], 1.0, dtype=tl.float32)
    return tiles, scale
