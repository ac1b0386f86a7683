"""Projections of one token: a program holds whole rows of the weight in registers, and no tensor core is used.

Where launches overlap (``_overlap``) the rows are read before the kernel ahead has ended, so that memory is busy while
that one computes its last numbers.
"""

from __future__ import annotations

import triton
import triton.language as tl

WIDEST = 4096  # numbers in a row that registers hold
CHUNK = 1024


def serves(tokens: int, width: int) -> bool:
    """Whether a projection of so many rows of ``width`` numbers takes this way."""
    return tokens == 1 and width <= WIDEST


def chunks(width: int) -> dict[str, int]:
    """The constants by which a row of ``width`` numbers is read: whole, or in chunks."""
    chunk = min(CHUNK, triton.next_power_of_2(width))
    return {"WIDTH": width, "CHUNK": chunk, "COUNT": triton.cdiv(width, chunk)}


@triton.jit
def hold(weight_ptr, rows, row_mask, stride, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr):
    """The rows of a weight as COUNT tiles [rows, CHUNK]."""
    held = ()
    for index in tl.static_range(COUNT):
        k = index * CHUNK + tl.arange(0, CHUNK)
        mask = row_mask[:, None] & (k < WIDTH)[None, :]
        tile = tl.load(weight_ptr + rows[:, None] * stride + k[None, :], mask=mask, other=0.0)
        held = held + (tile,)  # noqa: RUF005 Triton's compiler knows no unpacking
    return held


@triton.jit
def hold_row(row_ptr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr):
    """One row as COUNT pieces [CHUNK]."""
    held = ()
    for index in tl.static_range(COUNT):
        k = index * CHUNK + tl.arange(0, CHUNK)
        held = held + (tl.load(row_ptr + k, mask=k < WIDTH, other=0.0),)  # noqa: RUF005
    return held


@triton.jit
def inverse_rms_of(x, eps, WIDTH: tl.constexpr, COUNT: tl.constexpr):
    """1 / sqrt(mean of squares + eps) of a row held in pieces, float32."""
    squares = x[0].to(tl.float32) * x[0].to(tl.float32)
    for index in tl.static_range(1, COUNT):
        squares += x[index].to(tl.float32) * x[index].to(tl.float32)
    return 1.0 / tl.sqrt(tl.sum(squares, axis=0) / WIDTH + eps)


@triton.jit
def scaled(x, norm, COUNT: tl.constexpr):
    """A row held in pieces times a norm's weight, float32."""
    out = ()
    for index in tl.static_range(COUNT):
        out = out + (x[index].to(tl.float32) * norm[index].to(tl.float32),)  # noqa: RUF005
    return out


@triton.jit
def dot_rows(weight, x, COUNT: tl.constexpr):
    """The dots [rows] of held weights with a row held in pieces, float32."""
    product = weight[0].to(tl.float32) * x[0].to(tl.float32)[None, :]
    for index in tl.static_range(1, COUNT):
        product += weight[index].to(tl.float32) * x[index].to(tl.float32)[None, :]
    return tl.sum(product, axis=1)
