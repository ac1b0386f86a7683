"""Products of many tokens: blocks of outputs, shared out among as many programs as run at once.

Operands come and results go as whole tiles, by tensor descriptors: outside a matrix they give zeros and write nothing,
so that nothing here is masked. The loop over blocks and the one over their length are flattened into one, so that a
block's first tiles are on their way while the results of the block ahead are written.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common.device import norm_rows
from braidcheck.kernels.common.interpreter import INTERPRETED

FEWEST = 65  # tokens: fewer are one row of small blocks
# Outputs that make 128 blocks of 128 x 256, about one for each multiprocessor, and of 128 x 64.
# In the interpreter no op's own cases make the largest ones, but the documents of the coherence gate do.
LARGE, SMALL = (2**18, 2**14) if INTERPRETED else (2**22, 2**20)
ALIGNED = 16  # bytes at whose multiples a descriptor's matrix and all its rows must begin
ROWS = 64 if INTERPRETED else 4  # of one program of the norm
GROUP = tl.constexpr(8)  # blocks of tokens that take turns with one weight, which the L2 cache then holds


def serves(op: str, x: Tensor, weight: Tensor, *others: Tensor) -> bool:
    """Whether ``x @ weight.T``, x[T,K], takes this way; ``others`` are what else is read or written by tiles."""
    return (
        len(x) >= FEWEST
        and pinned.has(f"{op} of dozens")
        and x.shape[1] * weight.element_size() % ALIGNED == 0  # those of the operand that is made of x
        and all(map(fits, (weight, *others)))
    )


def fits(matrix: Tensor) -> bool:
    """Whether this machine's kernels can read the matrix, of 16-bit numbers, by tiles."""
    places = matrix.data_ptr(), *(step * matrix.element_size() for step in matrix.stride()[:-1])
    aligned = matrix.stride(-1) == 1 and all(place % ALIGNED == 0 for place in places)
    return aligned and matrix.element_size() == 2 and pinned.launch_arch().has_tma


def cut_name(op: str, tokens: int, outputs: int) -> str:
    """The cut of an op's kernel that is taken for so many tokens and outputs each."""
    count = tokens * outputs
    return f"{op} of {'thousands' if count >= LARGE else 'hundreds' if count >= SMALL else 'dozens'}"


def tiles(matrix: Tensor, *block: int) -> TensorDescriptor:
    """A matrix to be read or written by blocks of this shape."""
    return TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), list(block))


def programs(tokens: int, outputs: int, block_t: int, block_n: int, resident: int) -> tuple[int]:
    """A grid of at most ``resident`` programs a multiprocessor for the blocks of [tokens, outputs]."""
    return (min(triton.cdiv(tokens, block_t) * triton.cdiv(outputs, block_n), resident * multiprocessors()),)


@cache
def multiprocessors() -> int:
    """Those of this machine's GPU; few in the interpreter, so that a program there has several blocks."""
    if INTERPRETED:
        return 2
    return torch.cuda.get_device_properties().multi_processor_count if torch.cuda.is_available() else 132


def operand(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x[T,K] as a matrix of ``dtype`` of which tiles can be read."""
    x = x.to(dtype)
    return x if fits(x) else x.contiguous().clone()


def normed(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMSNorm of x[T,K] with a weight [K], as a matrix of ``dtype`` of which tiles can be read."""
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    _normed[(triton.cdiv(len(x), ROWS),)](
        x, weight, out, *x.shape, x.stride(0), eps, ROWS=ROWS, BLOCK=triton.next_power_of_2(x.shape[1])
    )
    return out


@triton.jit
def _normed(x_ptr, norm_ptr, out_ptr, num_rows, width, x_stride, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = (rows < num_rows)[:, None] & (columns < width)[None, :]
    x = tl.load(x_ptr + rows[:, None] * x_stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    y = norm_rows(x, norm_ptr, columns, width, eps)
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], y.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def blocks(num_tokens, width, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr):
    """How many blocks [num_tokens, width] has."""
    return tl.cdiv(num_tokens, BLOCK_T) * tl.cdiv(width, BLOCK_N)


@triton.jit
def place(block, num_tokens, width, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a block: down GROUP rows of blocks, then on to the next column."""
    down, across = tl.cdiv(num_tokens, BLOCK_T), tl.cdiv(width, BLOCK_N)
    group, inside = block // (across * GROUP), block % (across * GROUP)
    high = tl.minimum(down - group * GROUP, GROUP)
    return (group * GROUP + inside % high) * BLOCK_T, inside // high * BLOCK_N


@triton.jit
def product(
    x, weight, row, column, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):  # fmt: skip
    """x[row:] @ weight[column:].T of tiles, accumulated in float32."""
    tl.assume(length > 0)
    acc = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, length, BLOCK_K):
        acc = tl.dot(x.load([row, start]), weight.load([column, start]).T, acc)
    return acc


@triton.jit
def halves(block, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr):
    """The left and the right half of a block [BLOCK_T, BLOCK_N]; a thread keeps its numbers."""
    return tl.split(tl.permute(tl.reshape(block, (BLOCK_T, 2, BLOCK_N // 2)), (0, 2, 1)))
