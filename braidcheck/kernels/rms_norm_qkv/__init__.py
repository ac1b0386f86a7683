"""RMSNorm fused with the QKV projection: the documents' old path, kept as a fallback.

The norm is recomputed by every block of outputs. Bound: the normalised row carries a norm's error and is rounded once
to the weight's dtype (declared; nothing in float32, where the documents' 2.3e-5 holds), the dot accumulates in
float32, the bias adds one rounding.
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
from braidcheck.kernels.common.device import norm_and_project_rows
from braidcheck.kernels.common.inputs import EPS, Numbers, with_ones, without, without_last
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.op import Case, Contract, Cost, Op


@triton.jit
def _rms_norm_qkv(
    x_ptr, norm_ptr, weight_ptr, bias_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    acc = norm_and_project_rows(
        x_ptr, rows, row_mask, x_stride, norm_ptr, weight_ptr, columns, column_mask, weight_stride, length, eps,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _rms_norm_qkv_of_few(
    x_ptr, norm_ptr, weight_ptr, bias_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr,
    HAS_BIAS: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column_mask = columns < width
    weight = few.hold(weight_ptr, columns, column_mask, weight_stride, WIDTH, CHUNK, COUNT)
    norm = few.hold_row(norm_ptr, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    acc = few.project_normed(x, norm, weight, eps, BLOCK_T, WIDTH, COUNT)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns, mask=column_mask, other=0.0).to(tl.float32)[None, :]
    mask = (tokens < num_tokens)[:, None] & column_mask[None, :]
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _qkv_of_many(
    x, weight, bias_ptr, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        acc = many.product(x, weight, row, column, length, BLOCK_T, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            columns = column + tl.arange(0, BLOCK_N)
            acc += tl.load(bias_ptr + columns, mask=columns < width, other=0.0).to(tl.float32)[None, :]
        left, right = many.halves(acc, BLOCK_T, BLOCK_N)
        out.store([row, column], left.to(out.dtype))
        out.store([row, column + BLOCK_N // 2], right.to(out.dtype))


def rms_norm_qkv(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, eps: float, num_heads: int, num_kv_heads: int, head_dim: int,
    qkv_bias: Tensor | None = None, out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``rms_norm(x) @ qkv_weight.T + qkv_bias``, split into heads.

    x[T,H]; norm_weight[H]; qkv_weight[(Hq+2Hkv)*D, H]; qkv_bias[(Hq+2Hkv)*D]. Returns q[T,Hq,D], k[T,Hkv,D],
    v[T,Hkv,D], parts of one tensor, in ``out_dtype``, the weight's by default. Raises ValueError for what it cannot
    serve.
    """
    rows = (num_heads + 2 * num_kv_heads) * head_dim
    require(x.dim() == 2 and norm_weight.shape == x.shape[1:], "x must be [T,H] and norm_weight [H]")
    require(qkv_weight.shape == (rows, x.shape[1]), f"qkv_weight must be [{rows},{x.shape[1]}]")
    require(qkv_bias is None or qkv_bias.shape == (rows,), f"qkv_bias must be [{rows}]")
    require_contiguous_last_dim(x=x, norm_weight=norm_weight, qkv_weight=qkv_weight, qkv_bias=qkv_bias)
    require_same_device(x=x, norm_weight=norm_weight, qkv_weight=qkv_weight, qkv_bias=qkv_bias)
    out = torch.empty(x.shape[0], rows, dtype=out_dtype or qkv_weight.dtype, device=x.device)
    if few.serves(x, qkv_weight):
        cut = few.cut("rms_norm_qkv", x)
        _rms_norm_qkv_of_few[(triton.cdiv(rows, cut["ROWS"]),)](
            x, norm_weight, qkv_weight, qkv_bias, out, *out.shape, x.stride(0), qkv_weight.stride(0), eps,
            HAS_BIAS=qkv_bias is not None, **cut, **overlap.options(),
        )  # fmt: skip
    elif many.serves("rms_norm_qkv", x, qkv_weight, out):
        _of_many(many.normed(x, norm_weight, eps, qkv_weight.dtype), qkv_weight, qkv_bias, out)
    elif x.shape[0]:
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"rms_norm_qkv in blocks of {block_t}")
        _rms_norm_qkv[triton.cdiv(rows, cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x, norm_weight, qkv_weight, qkv_bias, out, *out.shape, x.shape[1], x.stride(0), qkv_weight.stride(0), eps,
            BLOCK_T=block_t, HAS_BIAS=qkv_bias is not None, **cut, **overlap.options(),
        )  # fmt: skip
    return out.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def _of_many(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    cut = pinned.cut(many.cut_name("rms_norm_qkv", *out.shape))
    block_t, block_n, block_k = cut["BLOCK_T"], cut["BLOCK_N"], cut["BLOCK_K"]
    _qkv_of_many[many.programs(*out.shape, block_t, block_n, cut.pop("RESIDENT"))](
        many.tiles(x, block_t, block_k), many.tiles(weight, block_n, block_k), bias,
        many.tiles(out, block_t, block_n // 2), *out.shape, x.shape[1], HAS_BIAS=bias is not None, **cut,
    )  # fmt: skip


def reference(
    x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim, qkv_bias=None, out_dtype=None
):  # fmt: skip
    """Norm, one product, split."""
    operand = rounding.wide(rounding.rms_normed(x, norm_weight, eps).to(qkv_weight.dtype))
    bias = None if qkv_bias is None else rounding.wide(qkv_bias)
    qkv = torch.nn.functional.linear(operand, rounding.wide(qkv_weight), bias)
    heads = qkv.to(out_dtype or qkv_weight.dtype).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    return heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def bound(x, norm_weight, qkv_weight, eps, num_heads, num_kv_heads, head_dim, qkv_bias=None, out_dtype=None):
    """See the module's derivation."""
    operand = rounding.rms_normed(x.double(), norm_weight.double(), eps)
    cast = qkv_weight.dtype if qkv_weight.dtype != torch.float32 else None
    error = rounding.projection_error(operand, qkv_weight.double(), cast, rounding.norm_error(x.shape[1]))
    if qkv_bias is not None:
        error = error + rounding.U32 * (operand @ qkv_weight.double().T + qkv_bias.double()).abs()
    return error.unflatten(1, (-1, head_dim)).split([num_heads, num_kv_heads, num_kv_heads], dim=1)


def inputs(case: Case, device: str) -> dict:
    """The residual stream and weights of about unit gain."""
    numbers = Numbers(case, device)
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    rows = (heads + 2 * kv_heads) * dim
    given = {
        "x": numbers.activations(case["T"], case["H"]),
        "norm_weight": numbers.norm_weight(case["H"], peak=20.0),
        "qkv_weight": numbers.weights(rows, case["H"]),
        "eps": EPS,
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": dim,
    }
    if case.get("bias"):
        given["qkv_bias"] = numbers.place(numbers.normal(rows))
    if case.get("out32"):
        given["out_dtype"] = torch.float32
    return given


def cost(case: Case) -> Cost:
    """x and the weight read once, q, k and v written."""
    size, rows = getattr(torch, case.dtype).itemsize, (case["Hq"] + 2 * case["Hkv"]) * case["D"]
    return Cost(size * (case["T"] * (case["H"] + rows) + rows * case["H"]), 2 * case["T"] * rows * case["H"])


def _case(tokens, width, shape, profile="unit", dtype="bfloat16", bias=0, out32=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim}
    axes |= {name: 1 for name, on in (("bias", bias), ("out32", out32)) if on}
    needs = (("qkv_bias",) if bias else ()) + (("out_dtype",) if out32 else ())
    return Case("rms_norm_qkv", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN, D4_896 = (6, 2, 64), (16, 8, 128), (14, 2, 64)
CASES = (
    _case(1, 256, NANO),
    _case(1, 256, NANO, "qwen", out32=1),
    _case(1, 2100, (2, 1, 32), "qwen"),
    _case(1, 1000, (3, 1, 80), "tail"),
    _case(1, 129, (2, 2, 32), "tail", "float16", bias=1),
    _case(1, 256, NANO, "tiny"),
    _case(1, 256, NANO, "tiny", "float32"),
    _case(1, 512, NANO, "sparse"),
    _case(1, 1024, (2, 1, 64), "cancel"),
    _case(1, 256, NANO, "extreme"),
    _case(0, 256, NANO),
    _case(65, 256, NANO, "qwen"),
    _case(33, 256, NANO, "qwen", "float16"),
    _case(33, 256, NANO, "qwen", "float32", out32=1),
    _case(1, 896, D4_896, "unit", bias=1),
    _case(3, 896, D4_896, "qwen", bias=1, out32=1),
    _case(1, 896, D4_896, "unit", "float32", out32=1),
    _case(1, 1024, QWEN, "unit", "float32", out32=1),
    _case(2, 1024, QWEN, "qwen"),
    _case(7, 1000, (3, 1, 80), "tail"),
    _case(19, 129, (2, 2, 32), "tail", "float16", bias=1),
    _case(20, 1000, (3, 1, 32), "tail"),
    _case(9, 256, NANO, "tiny"),
    _case(9, 256, NANO, "tiny", "float32"),
    _case(9, 512, NANO, "sparse"),
    _case(9, 1024, (2, 1, 64), "cancel"),
    _case(9, 1024, (2, 1, 64), "cancel", "float32"),
    _case(9, 256, NANO, "extreme"),
    _case(70, 264, (3, 1, 80), "tail", "float16", bias=1),
    _case(66, 1024, (2, 1, 64), "cancel"),
    _case(66, 129, (2, 2, 32), "tail"),
    _case(67, 256, NANO, "tiny"),
    _case(1, 1024, QWEN, "qwen", large=True),
    _case(4096, 1024, QWEN, "qwen", large=True),
    _case(300, 896, D4_896, "tail", "float16", bias=1, large=True),
)

OP = Op(
    call=rms_norm_qkv,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs=dict.fromkeys("qkv", "out_dtype or qkv_weight"), casts=("the normalised x to the weight's dtype",)
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without norm weight": with_ones("norm_weight"),
        "without eps": without("eps", 0.0),
        "without bias": without("qkv_bias"),
        "without the last column": without_last("x"),
        "without the last weight row": without_last("qkv_weight", 0),
    },
)
