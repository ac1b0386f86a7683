"""Sliced K: x @ weight.T of 2 to MAX_M rows of x, where each warp multiplies a slice of K of its own.

Sliced K is CUTLASS's name for split K within a thread block. x is padded to one tensor-core tile of MAX_M rows. A tile
of NUM_SLICES * BLOCK_K columns of K goes to NUM_SLICES warps: they are the batch of one batched product, so a warp
reads each number of x and of the weight at most once, from HBM or L2 straight to the registers from which the tensor
core reads it (``load_slices``). Nothing passes through shared memory but the sums of the slices at the end
(``sum_slices``). With PDL (``pdl``) the weight is loaded before the upstream kernel has ended.

Cast points: with a norm the rows are normalised and rounded to the weight's dtype; products and sums are float32.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.configs import get_config, has_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.kernel_config import Regime
from braidcheck.kernels.common.rms_norm import tile_squares

MAX_M = 16  # rows of one tensor-core tile
MAX_K_WITH_NORM = 1024  # the registers hold all of x and of the weight's rows
MAX_K = 8192
MIN_BLOCK_K, MAX_BLOCK_K = 32, 128  # numbers of K in two steps of a tensor core, and in eight
MAX_RESIDENT_TILES = 3  # of K, in registers before the wait
# Of the axes along which nothing is contiguous one gets the neighbouring threads: in Triton 3.6 the first, in 3.7 the
# last. With another one the numbers are right, but pass through shared memory. 1: rows come first; 0: last.
ROWS_FIRST = tl.constexpr(int(tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 7)))


def supports_sliced_k(op: str, x: Tensor, weight: Tensor, max_k: int) -> bool:
    """Whether the op has such a kernel and it takes ``x @ weight.T``, x[M,K]."""
    m, k = x.shape
    return 1 < m <= MAX_M and weight.element_size() == 2 and k <= max_k and has_config(op, Regime.SMALL_M)


def sliced_k_config(op: str, x: Tensor) -> dict[str, int]:
    """The constexprs and launch options of an op's sliced-K kernel for x[M,K]."""
    meta = get_config(op, Regime.SMALL_M).meta()
    k, num_slices = x.shape[1], meta["NUM_SLICES"]
    block_k = min(MAX_BLOCK_K, max(MIN_BLOCK_K, next_power_of_2(cdiv(k, num_slices))))
    return {
        "BLOCK_M": MAX_M,
        "K": k,
        "BLOCK_K": block_k,
        "NUM_K_TILES": cdiv(k, num_slices * block_k),
        "num_warps": num_slices,
        **meta,
    }


@triton.jit
def load_tiles(
    # pointers
    ptr,  # [num_rows, K]
    # sizes
    start_row,
    num_rows,
    stride,
    # meta
    R: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    NUM_K_TILES: tl.constexpr,
):
    """The rows start_row <= r < start_row + R of a matrix [num_rows, K]: a tuple of NUM_K_TILES ``load_slices``."""
    tiles = ()
    for index in tl.static_range(NUM_K_TILES):
        tile = load_slices(ptr, start_row, num_rows, stride, index, R, K, BLOCK_K, NUM_SLICES)
        tiles = tiles + (tile,)  # noqa: RUF005 Triton's compiler knows no unpacking
    return tiles


@triton.jit
def load_slices(
    # pointers
    ptr,  # [num_rows, K]
    # sizes
    start_row,
    num_rows,
    stride,
    tile,
    # meta
    R: tl.constexpr,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
):
    """Tile number ``tile`` of K of R rows, [NUM_SLICES, R, BLOCK_K]; what lies outside the matrix is 0.

    Within a slice each 32 columns are in the order in which a tensor core's threads have them: 4 threads j of 8 numbers
    each become 8 numbers of 4 threads. A thread reads 8 numbers that lie side by side, k = 8j to 8j + 7. For two
    products m16n8k16 it must hold k = 2j, 2j + 1, 2j + 8, 2j + 9 and the same plus 16 (PTX ISA, "Matrix Fragments for
    mma.m16n8k16"). A sum has any order: where both operands call the first numbers by the second names, no number has
    to change its thread.
    """
    NUM_STEPS: tl.constexpr = BLOCK_K // 32
    # Four threads read 32 columns, eight a row each; then come the warps, and what is left is of one thread.
    rows = tl.expand_dims(tl.arange(0, 8), (ROWS_FIRST, 1 + ROWS_FIRST, 3))
    slices = tl.arange(0, NUM_SLICES)[None, :, None, None]
    steps = tl.expand_dims(tl.arange(0, R // 8 * NUM_STEPS), (1 - ROWS_FIRST, 2 - ROWS_FIRST, 3))
    columns = tl.arange(0, 32)[None, None, None, :]
    offs_r = (start_row + steps // NUM_STEPS * 8 + rows).to(tl.int64)
    offs_k = (tile * NUM_SLICES + slices) * BLOCK_K + steps % NUM_STEPS * 32 + columns
    x = tl.load(ptr + offs_r * stride + offs_k, mask=(offs_r < num_rows) & (offs_k < K), other=0.0)
    x = tl.permute(x, [2 - 2 * ROWS_FIRST, 1, 2 * ROWS_FIRST, 3])
    # [8, NUM_SLICES, R // 8, NUM_STEPS, ...]; of 32 columns: thread, product, half of a product, number of a pair
    x = tl.reshape(x, [8, NUM_SLICES, R // 8, NUM_STEPS, 4, 2, 2, 2])
    x = tl.permute(x, [1, 2, 0, 3, 5, 6, 4, 7])
    return tl.reshape(x, [NUM_SLICES, R, BLOCK_K])


@triton.jit
def rmsnorm_slices(x, norm_weight, dtype: tl.constexpr, eps, K: tl.constexpr, NUM_K_TILES: tl.constexpr):
    """rms_norm(x) in ``dtype``, of tiles of x and of the norm's weight [NUM_SLICES, BLOCK_M, BLOCK_K]."""
    squares = tile_squares(x, NUM_K_TILES)  # [NUM_SLICES, BLOCK_M, BLOCK_K]
    mean = tl.sum(tl.sum(squares, axis=2), axis=0) / K  # [BLOCK_M]
    rstd = 1.0 / tl.sqrt(mean + eps)[None, :, None]  # [1, BLOCK_M, 1]
    tiles = ()
    for index in tl.static_range(NUM_K_TILES):
        tile = x[index].to(tl.float32) * norm_weight[index].to(tl.float32) * rstd
        tiles = tiles + (tile.to(dtype),)  # noqa: RUF005
    return tiles


@triton.jit
def tiles_dot(x, weight, NUM_K_TILES: tl.constexpr):
    """x @ weight.T of tiles, x [NUM_SLICES, BLOCK_M, BLOCK_K] and weight [NUM_SLICES, BLOCK_N, BLOCK_K]: float32
    [NUM_SLICES, BLOCK_M, BLOCK_N]."""
    acc = slices_dot(x[0], weight[0])
    for index in tl.static_range(1, NUM_K_TILES):
        acc += slices_dot(x[index], weight[index])
    return acc


@triton.jit
def slices_dot(x, weight):
    """x @ weight.T of one tile, slice by slice.

    The option concerns 8-bit operands only. With 0 Triton would fold a following sum into the product: with a residual
    or a bias, where a tensor core cuts each product off below the last bits of its largest term, or with the next tile,
    whose products would then wait for these.
    """
    return tl.dot(x, tl.permute(weight, [0, 2, 1]), input_precision="ieee", max_num_imprecise_acc=1)


@triton.jit
def sum_slices(acc, NUM_SLICES: tl.constexpr):
    """The sum [M, N] of acc [NUM_SLICES, M, N], by halves.

    The first ``tl.split`` brings the slices of an output into one thread, without bank conflicts; ``tl.sum`` would go
    through shared memory with the warps side by side, on one bank.
    """
    x = tl.permute(acc, [1, 2, 0])
    for _ in tl.static_range(NUM_SLICES.bit_length() - 1):
        left, right = tl.split(tl.reshape(x, [x.shape[0], x.shape[1], x.shape[2] // 2, 2]))
        x = left + right
    return tl.reshape(x, [x.shape[0], x.shape[1]])
