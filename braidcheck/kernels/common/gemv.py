"""Projections of a few tokens: a program holds whole rows of the weight in registers.

Where launches overlap (``pdl``) the rows are read before the kernel ahead has ended, so that memory is busy while
that one computes its last numbers. One token takes no tensor core; several take one block of it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned

MOST = 16  # tokens: one block of a tensor core
WIDEST, WIDEST_OF_SEVERAL = 4096, 1024  # numbers in a row of the weight that registers hold, beside so many tokens
CHUNK = 1024


def serves(x: Tensor, weight: Tensor) -> bool:
    """Whether ``x @ weight.T``, x[T,K], takes this way."""
    tokens, width = x.shape
    if tokens == 1:
        return width <= WIDEST
    return 1 < tokens <= MOST and weight.element_size() == 2 and width <= WIDEST_OF_SEVERAL


def cut(op: str, x: Tensor) -> dict[str, int]:
    """The constants and launch options of an op's kernel for x[T,K]."""
    return pinned.cut(f"{op} of one" if len(x) == 1 else f"{op} of few") | chunks(*x.shape)


def chunks(tokens: int, width: int) -> dict[str, int]:
    """The constants by which rows are read: tokens of a block, and rows whole, or in chunks."""
    chunk = max(16, min(CHUNK, triton.next_power_of_2(width)))
    return {"BLOCK_T": 1 if tokens == 1 else MOST, "WIDTH": width, "CHUNK": chunk, "COUNT": triton.cdiv(width, chunk)}


@triton.jit
def hold(ptr, rows, row_mask, stride, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr):
    """Rows as COUNT tiles [rows, CHUNK]."""
    held = ()
    for index in tl.static_range(COUNT):
        k = index * CHUNK + tl.arange(0, CHUNK)
        mask = row_mask[:, None] & (k < WIDTH)[None, :]
        tile = tl.load(ptr + rows[:, None] * stride + k[None, :], mask=mask, other=0.0)
        held = held + (tile,)  # noqa: RUF005 Triton's compiler knows no unpacking
    return held


@triton.jit
def hold_row(ptr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr):
    """One row as COUNT tiles [1, CHUNK]."""
    first = tl.arange(0, 1)
    return hold(ptr, first, first == 0, 0, WIDTH, CHUNK, COUNT)


@triton.jit
def project(x, weight, BLOCK_T: tl.constexpr, COUNT: tl.constexpr):
    """x @ weight.T of held x[tokens, k] and weight[rows, k]: float32 [tokens, rows]."""
    if BLOCK_T == 1:
        product = weight[0].to(tl.float32) * x[0].to(tl.float32)
        for index in tl.static_range(1, COUNT):
            product += weight[index].to(tl.float32) * x[index].to(tl.float32)
        acc = tl.sum(product, axis=1)[None, :]
    else:
        tl.static_assert(COUNT == 1, "registers hold one piece of the weight beside several tokens")
        acc = tl.dot(x[0], tl.trans(weight[0]), input_precision="ieee")
    return acc


@triton.jit
def project_normed(x, norm, weight, eps, BLOCK_T: tl.constexpr, WIDTH: tl.constexpr, COUNT: tl.constexpr):
    """rms_norm(x) @ weight.T of held x[tokens, k] and weight[rows, k]: float32 [tokens, rows]."""
    pieces, scale = normed(x, norm, weight[0].dtype, eps, BLOCK_T, WIDTH, COUNT)
    return project(pieces, weight, BLOCK_T, COUNT) * scale


@triton.jit
def normed(x, norm, dtype: tl.constexpr, eps, BLOCK_T: tl.constexpr, WIDTH: tl.constexpr, COUNT: tl.constexpr):
    """rms_norm(x) in pieces, and what their products are to be multiplied by.

    Several rows are rounded to ``dtype``; one is not, nor divided by its norm, which its products need not await.
    """
    squares = x[0].to(tl.float32) * x[0].to(tl.float32)
    for index in tl.static_range(1, COUNT):
        squares += x[index].to(tl.float32) * x[index].to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(squares, axis=1) / WIDTH + eps)[:, None]
    pieces = ()
    for index in tl.static_range(COUNT):
        piece = x[index].to(tl.float32) * norm[index].to(tl.float32)
        if BLOCK_T > 1:
            piece = (piece * inverse).to(dtype)
        pieces = pieces + (piece,)  # noqa: RUF005
    scale = inverse
    if BLOCK_T > 1:
        scale = tl.full([BLOCK_T, 1], 1.0, dtype=tl.float32)
    return pieces, scale
