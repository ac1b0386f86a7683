"""Projection with the residual added in float32: output projection and down projection.

Bound: a float32 dot of K products, one float32 rounding of the sum with the residual. The contract lets the product be
rounded to x's dtype before the sum, as HF transformers does (ours does not); like every cast's worst case it counts
twice, so that using it takes half.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.device import project_rows
from braidcheck.kernels.common.inputs import Numbers, without_last
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.op import Case, Contract, Cost, Op


@triton.jit
def _linear_residual(
    x_ptr, weight_ptr, residual_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, residual_stride,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = project_rows(
        x_ptr, rows, row_mask, x_stride, weight_ptr, columns, column_mask, weight_stride, length,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    mask = row_mask[:, None] & column_mask[None, :]
    residual = tl.load(residual_ptr + rows[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_few(
    x_ptr, weight_ptr, residual_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, residual_stride,
    BLOCK_T: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    weight = few.hold(weight_ptr, columns, columns < width, weight_stride, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    acc = few.project(x, weight, BLOCK_T, COUNT)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    residual = tl.load(residual_ptr + tokens[:, None] * residual_stride + columns[None, :], mask=mask, other=0.0)
    acc += residual.to(tl.float32)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _linear_residual_of_many(
    x, weight, residual, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        acc = many.product(x, weight, row, column, length, BLOCK_T, BLOCK_N, BLOCK_K)
        left, right = many.halves(acc, BLOCK_T, BLOCK_N)
        left += residual.load([row, column]).to(tl.float32)
        out.store([row, column], left.to(out.dtype))
        right += residual.load([row, column + BLOCK_N // 2]).to(tl.float32)
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))


def linear_residual(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """``residual + x @ weight.T``, accumulated and added in float32.

    x[T,K] and weight[H,K] of one dtype, residual[T,H]; returns [T,H] in the residual's dtype. Raises ValueError for
    shapes, strides or dtypes it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,K] and weight[H,K] must agree in K"
    )
    require(residual.shape == (x.shape[0], weight.shape[0]), f"residual must be [{x.shape[0]},{weight.shape[0]}]")
    require(x.dtype == weight.dtype, f"x is {x.dtype}, weight {weight.dtype}: they must be alike")
    require_contiguous_last_dim(x=x, weight=weight, residual=residual)
    require_same_device(x=x, weight=weight, residual=residual)
    out = torch.empty(residual.shape, dtype=residual.dtype, device=x.device)
    if few.serves(x, weight):
        cut = few.cut("linear_residual", x)
        _linear_residual_of_few[(triton.cdiv(weight.shape[0], cut["ROWS"]),)](
            x, weight, residual, out, x.shape[0], weight.shape[0], x.stride(0), weight.stride(0), residual.stride(0),
            **cut, **overlap.options(),
        )  # fmt: skip
    elif many.serves("linear_residual", x, weight, residual, out):
        _of_many(x, weight, residual, out)
    elif out.numel():
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"linear_residual in blocks of {block_t}")
        _linear_residual[triton.cdiv(weight.shape[0], cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x, weight, residual, out, x.shape[0], *weight.shape, x.stride(0), weight.stride(0), residual.stride(0),
            BLOCK_T=block_t, **cut, **overlap.options(),
        )  # fmt: skip
    return out


def _of_many(x: Tensor, weight: Tensor, residual: Tensor, out: Tensor) -> None:
    cut = pinned.cut(many.cut_name("linear_residual", *out.shape))
    block_t, block_n, block_k = cut["BLOCK_T"], cut["BLOCK_N"], cut["BLOCK_K"]
    x, half = many.operand(x, weight.dtype), (block_t, block_n // 2)
    _linear_residual_of_many[many.programs(*out.shape, block_t, block_n, cut.pop("RESIDENT"))](
        many.tiles(x, block_t, block_k), many.tiles(weight, block_n, block_k), many.tiles(residual, *half),
        many.tiles(out, *half), *out.shape, x.shape[1], **cut,
    )  # fmt: skip


def reference(x, weight, residual):
    """A matrix product and a sum."""
    product = rounding.wide(x) @ rounding.wide(weight).T
    return (rounding.wide(residual) + product).to(residual.dtype)


def bound(x, weight, residual):
    """See the module's derivation."""
    wide, exact_weight = x.double(), weight.double()
    product = wide @ exact_weight.T
    error = rounding.projection_error(wide, exact_weight, None) + 2 * rounding.ROUNDOFF[x.dtype] * product.abs()
    return (error + rounding.U32 * (product + residual.double()).abs(),)


def inputs(case: Case, device: str) -> dict:
    """Activations, a weight of unit gain and a residual stream."""
    numbers = Numbers(case, device)
    return {
        "x": numbers.activations(case["T"], case["K"]),
        "weight": numbers.weights(case["H"], case["K"]),
        "residual": numbers.activations(case["T"], case["H"]),
    }


def cost(case: Case) -> Cost:
    """Weight, x and residual read, the sum written."""
    tokens, width, length, size = case["T"], case["H"], case["K"], getattr(torch, case.dtype).itemsize
    return Cost(size * (width * length + tokens * (length + 2 * width)), 2 * tokens * width * length)


def _case(tokens, length, width, profile="unit", dtype="bfloat16", large=False):
    return Case("linear_residual", {"T": tokens, "K": length, "H": width}, dtype, profile, large=large)


CASES = (
    _case(1, 384, 256),
    _case(1, 576, 256, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 129, 70, "tail", "float16"),
    _case(1, 2048, 128, "cancel"),
    _case(1, 2048, 128, "cancel", "float32"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 256, "extreme"),
    _case(0, 384, 256),
    _case(65, 576, 256, "qwen"),
    _case(33, 384, 256, "qwen", "float16"),
    _case(33, 384, 256, "qwen", "float32"),
    _case(3, 3072, 1024, "qwen"),
    _case(7, 1000, 331, "tail"),
    _case(19, 129, 70, "tail", "float16"),
    _case(5, 129, 70, "tail", "float16"),
    _case(19, 1000, 331, "tail"),
    _case(9, 2048, 128, "cancel"),
    _case(9, 2048, 128, "cancel", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 256, "extreme"),
    _case(9, 256, 256, "tiny"),
    _case(130, 264, 264, "tail"),
    _case(66, 1024, 128, "cancel"),
    _case(577, 64, 256),  # more rows of blocks than take turns with one weight
    _case(67, 129, 70, "tail", "float16"),
    _case(1, 3072, 1024, "qwen", large=True),
    _case(4096, 2048, 1024, "qwen", large=True),
    _case(515, 3072, 1024, "cancel", large=True),
    _case(1100, 2048, 1024, "tail", "float16", large=True),
)

OP = Op(
    call=linear_residual,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"out": "residual"}, casts=("the product to x's dtype",)),
    bound=bound,
    cost=cost,
    spoilers={
        "without residual": lambda given: given | {"residual": torch.zeros_like(given["residual"])},
        "without the last column": without_last("x"),
        "without the last weight row": without_last("weight", 0),
    },
)
