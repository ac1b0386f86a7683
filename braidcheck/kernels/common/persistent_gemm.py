"""Persistent GEMM through TMA: x @ weight.T of many rows, after Triton's tutorial 09 (persistent matmul).

The grid has as many programs as run at once; each walks the output tiles tile_id, tile_id + grid size, ... The loop
over tiles and the one over K are flattened into one: a tile's first loads are in flight while the tile before it is
stored. Grouped ordering: GROUP_SIZE_M tiles down, then one to the right, so that the L2 cache keeps a weight tile for
GROUP_SIZE_M programs.

x, weight and out are tensor descriptors: TMA reads zeros and writes nothing outside a matrix, so nothing is masked.
acc is float32. An epilogue stores a tile by halves (``split_n``), which needs half the shared memory.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from braidcheck.kernels.common import configs, pdl
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.kernel_config import Regime, SizeBucket
from braidcheck.kernels.common.rms_norm import rmsnorm_rows

MIN_M = 17  # rows: fewer are one tile of a tensor core
TMA_ALIGNMENT = 16  # bytes: of a descriptor's base address and row strides
GROUP_SIZE_M = tl.constexpr(8)


def supports_persistent_gemm(op: str, x: Tensor, weight: Tensor, *others: Tensor, float32: bool = False) -> bool:
    """Whether this kernel takes ``x @ weight.T``, x[M,K]; ``others`` are what else goes through TMA, which may be
    ``float32`` where the op's tiles leave shared memory for it."""
    return (
        len(x) >= MIN_M
        and configs.has_config(op, Regime.PERSISTENT, SizeBucket.TINY)
        and x.shape[1] * weight.element_size() % TMA_ALIGNMENT == 0  # the rows of the operand that is made of x
        and can_use_tma(weight)
        and all(can_use_tma(other, float32) for other in others)
    )


def can_use_tma(matrix: Tensor, float32: bool = False) -> bool:
    """Whether kernels on this machine can read and write the matrix, of a 16-bit dtype or float32 if that is accepted,
    through TMA."""
    size = matrix.element_size()
    return (
        configs.launch_arch().has_tma
        and (size == 2 or (float32 and size == 4))
        and matrix.stride(-1) == 1
        and matrix.data_ptr() % TMA_ALIGNMENT == 0
        and all(stride > 0 and stride * size % TMA_ALIGNMENT == 0 for stride in matrix.stride()[:-1])
    )


def persistent_config(op: str, m: int, n: int) -> dict[str, int]:
    """The constexprs and launch options of an op's persistent kernel for outputs [M,N], and CTAS_PER_SM."""
    return configs.get_config(op, Regime.PERSISTENT, configs.size_bucket("persistent_gemm", m * n)).meta()


def tensor_descriptor(matrix: Tensor, *block_shape: int) -> TensorDescriptor:
    """A matrix that is read or written by tiles of this shape."""
    return TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), list(block_shape))


def persistent_grid(m: int, n: int, block_m: int, block_n: int, ctas_per_sm: int) -> tuple[int]:
    """At most ``ctas_per_sm`` programs a multiprocessor for the tiles of [M,N]."""
    return (min(cdiv(m, block_m) * cdiv(n, block_n), ctas_per_sm * num_sms()),)


@cache
def num_sms() -> int:
    """The multiprocessors of this machine's GPU; few in the interpreter, so that a program there has several tiles."""
    if INTERPRETED:
        return 2
    return torch.cuda.get_device_properties().multi_processor_count if torch.cuda.is_available() else 132


def tma_operand(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x[M,K] as a matrix of ``dtype`` that TMA can read."""
    x = x.to(dtype)
    return x if can_use_tma(x) else x.contiguous().clone()


def rmsnorm_operand(x: Tensor, norm_weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMSNorm of x[M,K] with a weight [K], as a matrix of ``dtype`` that TMA can read; a launch with
    ``pdl.dependent_options()`` must follow."""
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    m, k = x.shape
    config = configs.get_config("rms_norm", Regime.PERSISTENT)
    rmsnorm_operand_kernel[(cdiv(m, config.block_m),)](
        x_ptr=x,
        norm_weight_ptr=norm_weight,
        out_ptr=out,
        M=m,
        K=k,
        stride_xm=x.stride(0),
        eps=eps,
        BLOCK_K=next_power_of_2(k),
        **config.meta(),
        **pdl.upstream_options(),
    )
    return out


@triton.jit
def rmsnorm_operand_kernel(
    # pointers
    x_ptr,  # [M, K]
    norm_weight_ptr,  # [K]
    out_ptr,  # [M, K]
    # sizes
    M,
    K,
    # strides
    stride_xm,
    # scalars
    eps,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """out = rms_norm(x), rounded once to out's dtype. Grid (cdiv(M, BLOCK_M),): a program takes whole rows."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    offs_k = tl.arange(0, BLOCK_K)
    mask = (offs_m < M)[:, None] & (offs_k < K)[None, :]
    # [BLOCK_M, BLOCK_K]
    x = tl.load(x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :], mask=mask, other=0.0).to(tl.float32)
    y = rmsnorm_rows(x, norm_weight_ptr, offs_k, K, eps)
    tl.store(out_ptr + offs_m[:, None] * K + offs_k[None, :], y.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def num_tiles(M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """How many tiles [BLOCK_M, BLOCK_N] cover [M, N]."""
    return tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N)


@triton.jit
def tile_origin(tile_id, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a tile of [M, N] in grouped order: down GROUP_SIZE_M tiles, then one to the right."""
    num_pid_m, num_pid_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group_id, pid_in_group = tile_id // (num_pid_n * GROUP_SIZE_M), tile_id % (num_pid_n * GROUP_SIZE_M)
    group_size_m = tl.minimum(num_pid_m - group_id * GROUP_SIZE_M, GROUP_SIZE_M)  # the last group may be smaller
    pid_m = group_id * GROUP_SIZE_M + pid_in_group % group_size_m
    return pid_m * BLOCK_M, pid_in_group // group_size_m * BLOCK_N


@triton.jit
def prefetch_rows(ptr, start_n, N, K, stride, BLOCK_N: tl.constexpr, PREFETCH_K: tl.constexpr, USE_PDL: tl.constexpr):
    """Prefetch the first PREFETCH_K 16-bit numbers of each row start_n to start_n + BLOCK_N of a matrix [N, K] into L2.

    HBM is then busy while the upstream kernel ends. A prefetch changes nothing but time; with much more than a quarter
    of each row it takes longer than that kernel.
    """
    if USE_PDL and PREFETCH_K > 0:
        offs_n = tl.minimum(start_n + tl.arange(0, BLOCK_N), N - 1).to(tl.int64)
        offs_line = tl.minimum(tl.arange(0, PREFETCH_K // 64) * 64, K - 1)  # lines of 128 bytes
        ptrs = ptr + offs_n[:, None] * stride + offs_line[None, :]  # [BLOCK_N, PREFETCH_K // 64]
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.b32 $0, 0;",
            "=r,l",
            [ptrs.to(tl.int64)],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def gemm_mainloop(
    # tensor descriptors
    x,  # [M, K], tiles [BLOCK_M, BLOCK_K]
    weight,  # [N, K], tiles [BLOCK_N, BLOCK_K]
    # sizes
    start_m,
    start_n,
    K,
    # meta
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STACKED: tl.constexpr = False,
):
    """x[start_m:] @ weight[start_n:].T of one tile: float32 [BLOCK_M, BLOCK_N].

    With STACKED the weight is two matrices [2, N, K] in tiles [2, BLOCK_N // 2, BLOCK_K]: the product with the first is
    the left half of the result.
    """
    tl.assume(K > 0)
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start_k in range(0, K, BLOCK_K):
        if STACKED:
            stacked = tl.reshape(weight.load([0, start_n, start_k]), (BLOCK_N, BLOCK_K))
            acc = tl.dot(x.load([start_m, start_k]), stacked.T, acc)
        else:
            acc = tl.dot(x.load([start_m, start_k]), weight.load([start_n, start_k]).T, acc)
    return acc


@triton.jit
def split_n(tile, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The left and the right half [BLOCK_M, BLOCK_N // 2] of a tile: no data moves between threads."""
    return tl.split(tl.permute(tl.reshape(tile, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
