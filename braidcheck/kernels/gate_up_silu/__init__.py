"""The MLP's gate and up projections with SiLU, optionally with the RMSNorm before them.

Bound: gate g and up u are float32 dots; with a norm their operand is rounded once to the weight's dtype and carries
the norm's own error. silu'(g) = s(1 + g(1 - s)), |silu''| <= 1/2, so silu(g) moves by |silu'(g)| e_g + e_g^2/4; the
exponential, the division and the two products round about six times, and its argument's rounding adds |g| more. The
contract lets gate, up and silu(gate) be rounded to the weight's dtype, as HF transformers does (ours does not).
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
from braidcheck.kernels.common.device import inverse_rms, norm_block
from braidcheck.kernels.common.inputs import EPS, Numbers, with_ones, without, without_last
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.op import Case, Contract, Cost, Op


@triton.jit
def _silu_times(gate, up):
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def _gate_up_silu(
    x_ptr, weight_ptr, norm_ptr, out_ptr, num_tokens, width, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, HAS_NORM: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < width
    overlap.wait(OVERLAP)
    if HAS_NORM:
        block: tl.constexpr = norm_block(BLOCK_T, BLOCK_K)
        inverse = inverse_rms(x_ptr, rows, row_mask, x_stride, length, eps, BLOCK_T, block)
    gate = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    up = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, length, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < length
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        if HAS_NORM:
            norm = tl.load(norm_ptr + k, mask=k_mask, other=0.0).to(tl.float32)
            x = (x.to(tl.float32) * inverse[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & column_mask[None, :]
        w_gate = tl.load(weight_ptr + columns[None, :] * weight_stride + k[:, None], mask=w_mask, other=0.0)
        w_up = tl.load(weight_ptr + (columns[None, :] + width) * weight_stride + k[:, None], mask=w_mask, other=0.0)
        gate = tl.dot(x, w_gate, gate, input_precision="ieee")
        up = tl.dot(x, w_up, up, input_precision="ieee")
    out = _silu_times(gate, up)
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * width + columns[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _gate_up_silu_of_few(
    x_ptr, weight_ptr, norm_ptr, out_ptr, num_tokens, width, x_stride, weight_stride, eps, BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr, HAS_NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    both = tl.arange(0, 2 * ROWS)  # gate and up by turns
    of_both = (tl.program_id(0) * ROWS + both // 2).to(tl.int64)
    weight = few.hold(weight_ptr, of_both + both % 2 * width, of_both < width, weight_stride, WIDTH, CHUNK, COUNT)
    if HAS_NORM:
        norm = few.hold_row(norm_ptr, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    if HAS_NORM:
        acc = few.project_normed(x, norm, weight, eps, BLOCK_T, WIDTH, COUNT)
    else:
        acc = few.project(x, weight, BLOCK_T, COUNT)
    gate, up = tl.split(tl.reshape(acc, [BLOCK_T, ROWS, 2]))
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    mask = (tokens < num_tokens)[:, None] & (columns < width)[None, :]
    out = _silu_times(gate, up).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + tokens[:, None] * width + columns[None, :], out, mask=mask)


@triton.jit
def _gate_up_silu_of_many(
    x, weight, out, num_tokens, width, length, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = many.place(block, num_tokens, width, BLOCK_T, BLOCK_N)
        tl.assume(length > 0)
        acc = tl.zeros([BLOCK_T, 2 * BLOCK_N], dtype=tl.float32)
        for start in range(0, length, BLOCK_K):
            both = tl.reshape(weight.load([0, column, start]), (2 * BLOCK_N, BLOCK_K))  # of gate, then of up
            acc = tl.dot(x.load([row, start]), both.T, acc)
        gate, up = many.halves(acc, BLOCK_T, 2 * BLOCK_N)
        out.store([row, column], _silu_times(gate, up).to(out.dtype))


def gate_up_silu(x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS) -> Tensor:
    """``silu(gate) * up`` where gate and up are the halves (gate first) of ``rms_norm(x) @ weight.T``.

    x[T,H]; weight[2I,H]; norm_weight[H], without which x is used as it is and must have the weight's dtype. Returns
    [T,I] in the weight's dtype. Raises ValueError for shapes, strides or dtypes it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,H], weight[2I,H] must agree in H"
    )
    require(weight.shape[0] % 2 == 0, f"weight must stack gate and up, has {weight.shape[0]} rows")
    require(norm_weight is None or norm_weight.shape == x.shape[1:], f"norm_weight must be [{x.shape[1]}]")
    require(norm_weight is not None or x.dtype == weight.dtype, f"x is {x.dtype}, weight {weight.dtype}")
    require_contiguous_last_dim(x=x, weight=weight, norm_weight=norm_weight)
    require_same_device(x=x, weight=weight, norm_weight=norm_weight)
    width = weight.shape[0] // 2
    out = torch.empty(x.shape[0], width, dtype=weight.dtype, device=x.device)
    if few.serves(x, weight):
        cut = few.cut("gate_up_silu", x)
        _gate_up_silu_of_few[(triton.cdiv(width, cut["ROWS"]),)](
            x, weight, norm_weight, out, x.shape[0], width, x.stride(0), weight.stride(0), eps,
            HAS_NORM=norm_weight is not None, **cut, **overlap.options(),
        )  # fmt: skip
    elif many.serves("gate_up_silu", x, weight, out):
        x = many.operand(x, weight.dtype) if norm_weight is None else many.normed(x, norm_weight, eps, weight.dtype)
        _of_many(x, weight, out)
    elif out.numel():
        block_t = default_block_m(x.shape[0])
        cut = pinned.cut(f"gate_up_silu in blocks of {block_t}")
        _gate_up_silu[triton.cdiv(width, cut["BLOCK_N"]), triton.cdiv(x.shape[0], block_t)](
            x, weight, norm_weight, out, x.shape[0], width, x.shape[1], x.stride(0), weight.stride(0), eps,
            BLOCK_T=block_t, HAS_NORM=norm_weight is not None, **cut, **overlap.options(),
        )  # fmt: skip
    return out


def _of_many(x: Tensor, weight: Tensor, out: Tensor) -> None:
    (rows, length), width = weight.shape, out.shape[1]
    cut = pinned.cut(many.cut_name("gate_up_silu", len(x), rows))
    block_t, block_n, block_k = cut["BLOCK_T"], cut["BLOCK_N"], cut["BLOCK_K"]
    _gate_up_silu_of_many[many.programs(*out.shape, block_t, block_n, cut.pop("RESIDENT"))](
        many.tiles(x, block_t, block_k), many.tiles(weight.unflatten(0, (2, width)), 2, block_n, block_k),
        many.tiles(out, block_t, block_n), *out.shape, length, **cut,
    )  # fmt: skip


def _normed(x: Tensor, norm_weight: Tensor | None, eps: float) -> Tensor:
    if norm_weight is None:
        return x
    return rounding.rms_normed(x, norm_weight, eps)


def reference(x, weight, norm_weight=None, eps=EPS):
    """Norm, one product, SiLU of the first half times the second."""
    operand = rounding.wide(_normed(x, norm_weight, eps).to(weight.dtype))
    gate, up = (operand @ rounding.wide(weight).T).chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(weight.dtype)


def bound(x, weight, norm_weight=None, eps=EPS):
    """See the module's derivation."""
    operand = _normed(x.double(), None if norm_weight is None else norm_weight.double(), eps)
    cast = weight.dtype if norm_weight is not None and weight.dtype != torch.float32 else None
    operand_error = rounding.norm_error(x.shape[1]) if norm_weight is not None else 0.0
    gate, up = (operand @ weight.double().T).chunk(2, dim=-1)
    gate_error, up_error = rounding.projection_error(operand, weight.double(), cast, operand_error).chunk(2, dim=-1)
    sigmoid, silu = gate.sigmoid(), torch.nn.functional.silu(gate)
    unit = 2 * rounding.ROUNDOFF[weight.dtype]  # a permitted cast takes half of its bound
    gate_error, up_error = gate_error + unit * gate.abs(), up_error + unit * up.abs()
    silu_error = (sigmoid * (1 + gate * (1 - sigmoid))).abs() * gate_error + gate_error.square() / 4
    silu_error = silu_error + (unit + rounding.U32 * (6 + 3 * gate.abs())) * silu.abs()
    return (up.abs() * silu_error + (silu.abs() + silu_error) * up_error,)


def inputs(case: Case, device: str) -> dict:
    """The residual stream (with the norm) or a normalised input, and a weight of unit gain."""
    numbers = Numbers(case, device)
    given = {
        "x": numbers.activations(case["T"], case["H"]),
        "weight": numbers.weights(2 * case["I"], case["H"]),
    }
    if case.get("norm"):
        given |= {"norm_weight": numbers.norm_weight(case["H"], peak=10.0), "eps": EPS}
    return given


def cost(case: Case) -> Cost:
    """Weight and x read, the product written."""
    tokens, width, inner, size = case["T"], case["H"], case["I"], getattr(torch, case.dtype).itemsize
    return Cost(size * (2 * inner * width + tokens * (width + inner)), 4 * tokens * inner * width)


def _case(tokens, width, inner, profile="unit", dtype="bfloat16", norm=1, large=False):
    axes = {"T": tokens, "H": width, "I": inner} | ({"norm": 1} if norm else {})
    return Case("gate_up_silu", axes, dtype, profile, large=large, needs=("norm_weight", "eps") if norm else ())


CASES = (
    _case(1, 256, 576),
    _case(1, 256, 576, "qwen"),
    _case(1, 2100, 70, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 129, 70, "tail", "float16", norm=0),
    _case(1, 1024, 128, "cancel"),
    _case(1, 1024, 128, "cancel", "float32", norm=0),
    _case(1, 256, 128, "tiny"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 128, "extreme"),
    _case(0, 256, 576),
    _case(65, 256, 576, "qwen"),
    _case(33, 256, 576, "qwen", "float16"),
    _case(33, 256, 576, "qwen", "float32"),
    _case(3, 1024, 3072, "unit", norm=0),
    _case(7, 1000, 331, "tail"),
    _case(19, 129, 70, "tail", "float16", norm=0),
    _case(9, 1024, 128, "cancel", norm=0),
    _case(9, 1024, 128, "cancel", "float32"),
    _case(9, 256, 128, "tiny"),
    _case(9, 256, 128, "tiny", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 128, "extreme"),
    _case(9, 256, 128, "steep", norm=0),
    _case(20, 1000, 72, "tail"),
    _case(70, 264, 72, "tail", "float16", norm=0),
    _case(66, 1024, 128, "cancel", norm=0),
    _case(66, 129, 70, "tail"),
    _case(67, 256, 128, "tiny"),
    _case(1, 1024, 3072, "qwen", large=True),
    _case(4096, 1024, 3072, "qwen", large=True),
    _case(515, 1024, 3072, "tail", "float16", norm=0, large=True),
)

OP = Op(
    call=gate_up_silu,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs={"out": "weight"},
        casts=(
            "with norm_weight: the normalised x to the weight's dtype",
            "gate, up and silu(gate) to the weight's dtype",
        ),
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without norm": without("norm_weight"),
        "without norm weight": with_ones("norm_weight"),
        "without eps": without("eps", 0.0),
        "without the last column": without_last("x"),
        "without the last weight row": without_last("weight", 0),
        "up first": lambda given: given | {"weight": given["weight"].roll(len(given["weight"]) // 2, 0)},
    },
)
