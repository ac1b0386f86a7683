"""What makes the interpreter faster changes neither its numbers nor what it refuses."""

import os
import subprocess
import sys

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError
from triton.tools.tensor_descriptor import TensorDescriptor

from braidcheck.environment import PACKAGE
from braidcheck.kernels.common import interpreter  # noqa: F401  (its import patches the interpreter)

ROWS, COLUMNS, BLOCK = 5, 24, (16, 8)


@triton.jit
def _copy_tile(source, target, row, column):
    target.store([row, column], source.load([row, column]))


@triton.jit
def _zeros(x_ptr, N: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, 4), tl.zeros([N], dtype=tl.float32))


def tiles(matrix, *block):
    return TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), list(block))


@pytest.fixture
def matrices():
    """A source, and a target of sevens inside a larger matrix."""
    whole = torch.full((ROWS + 2, COLUMNS + 16), 7.0)
    return torch.arange(ROWS * COLUMNS).float().reshape(ROWS, COLUMNS), whole, whole[1:-1, 8:-8]


@pytest.mark.parametrize("row", [-9, -3, 0, 2, 4, 5, 90])
@pytest.mark.parametrize("column", [-8, -4, 0, 20, 24])
def test_a_tile_is_copied_where_it_lies_in_the_matrix(matrices, row, column):
    source, whole, target = matrices
    expected = whole.clone()
    part = slice(max(row, 0), max(row + BLOCK[0], 0)), slice(max(column, 0), max(column + BLOCK[1], 0))
    expected[1:-1, 8:-8][part] = source[part]
    _copy_tile[(1,)](tiles(source, *BLOCK), tiles(target, *BLOCK), row, column)
    assert torch.equal(whole, expected)


@triton.jit
def _take_tile(source, out_ptr, row, column, M: tl.constexpr, N: tl.constexpr):
    tl.store(out_ptr + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :], source.load([row, column]))


@pytest.mark.parametrize(("row", "column"), [(-3, -4), (-20, 0), (2, 20), (0, 24)])
def test_a_tile_holds_zeros_outside_the_matrix(matrices, row, column):
    source, tile = matrices[0], torch.full(BLOCK, 7.0)
    _take_tile[(1,)](tiles(source, *BLOCK), tile, row, column, *BLOCK)
    padded = torch.nn.functional.pad(source, (32, 32, 32, 32))
    assert torch.equal(tile, padded[32 + row :, 32 + column :][: BLOCK[0], : BLOCK[1]])


def test_a_tile_must_begin_at_16_bytes(matrices):
    source, _, target = matrices
    with pytest.raises(InterpreterError, match="16-byte aligned"):
        _copy_tile[(1,)](tiles(source, *BLOCK), tiles(target, *BLOCK), 0, 2)


@pytest.mark.parametrize("size", [3, 8])
def test_shapes_that_triton_refuses_stay_refused(size):
    for _ in range(2):  # a shape that is remembered too
        with pytest.raises(InterpreterError):
            _zeros[(1,)](torch.empty(4), N=size)


# In a process of its own, whose interpreter nobody has touched yet.
COMPARE = """
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def product(a, b, c_ptr, stride, N: tl.constexpr):
    acc = tl.zeros([N, N], dtype=tl.float32)
    for start in range(0, 2 * N, N):
        acc = tl.dot(a.load([tl.program_id(0) * N, start]), b.load([start, 0]), acc)
    i = tl.arange(0, N)
    offsets = (tl.program_id(0) * N + i)[:, None] * stride + i[None, :]
    values = tl.exp2(acc - tl.max(acc, axis=1)[:, None]) / tl.num_programs(0)
    tl.store(c_ptr + offsets, values, mask=(i[:, None] < N - 3) & (i < N - 1)[None, :])


def tiles(matrix):
    return TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), [16, 16])


def answer(dtype):
    a, b = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype) for shape in ((44, 24), (24, 16)))
    c = torch.zeros(48, 20)
    product[(3,)](tiles(a), tiles(b), c, 20, N=16)
    return c


dtypes = torch.float16, torch.float32
plain = [answer(dtype) for dtype in dtypes]
from braidcheck.kernels.common import interpreter as _  # its import patches the interpreter
assert all(found.any() for found in plain)
assert all(torch.equal(found, answer(dtype)) for found, dtype in zip(plain, dtypes, strict=True)), "other bits"
"""


def test_numbers_are_those_of_the_interpreter_as_it_came(tmp_path):
    (tmp_path / "compare.py").write_text(COMPARE)
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, tmp_path / "compare.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
