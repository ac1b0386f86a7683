"""RMSNorm in float32 throughout, with an optional residual add before it.

Bound: the sum of squares has terms of one sign, so its relative error is that of a float32 sum, halved by the square
root; mean, eps, root, reciprocal and the two products round once each (Higham ch. 3). With a residual the unrounded
float32 sum is normalised: one more rounding of each element, and of the returned sum.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.inputs import EPS, Numbers, with_ones, without, without_last
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.rms_norm import rmsnorm_rows as norm_rows
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.op import Case, Contract, Cost, Op

ROWS = 64 if INTERPRETED else 1


@triton.jit
def _rms_norm(
    x_ptr, residual_ptr, weight_ptr, y_ptr, sum_ptr, num_rows, width, x_stride, residual_stride, y_stride, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = (rows < num_rows)[:, None] & (columns < width)[None, :]
    x = tl.load(x_ptr + rows[:, None] * x_stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        residual = residual_ptr + rows[:, None] * residual_stride + columns[None, :]
        x += tl.load(residual, mask=mask, other=0.0).to(tl.float32)
        tl.store(sum_ptr + rows[:, None] * width + columns[None, :], x.to(sum_ptr.dtype.element_ty), mask=mask)
    y = norm_rows(x, weight_ptr, columns, width, eps)
    tl.store(y_ptr + rows[:, None] * y_stride + columns[None, :], y.to(y_ptr.dtype.element_ty), mask=mask)


def rms_norm(
    x: Tensor, weight: Tensor, eps: float, residual: Tensor | None = None, out: Tensor | None = None,
    out_dtype: torch.dtype = torch.float32,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """Normalise each row of ``x (+ residual)`` by its root mean square and multiply by ``weight``.

    x[T,H] and residual[T,H] float32, bfloat16 or float16; weight[H]; y[T,H] in ``out_dtype``, written to ``out`` if
    given (``out`` may be ``x`` itself where x has that dtype). Returns y, or (y, sum) with sum[T,H] = (x + residual)
    rounded to x's dtype. Raises ValueError for shapes, strides or devices it cannot serve.
    """
    require(x.dim() == 2, f"x must be [T,H], is {tuple(x.shape)}")
    require(weight.shape == x.shape[1:] and weight.is_contiguous(), f"weight must be contiguous [{x.shape[1]}]")
    require(residual is None or residual.shape == x.shape, "residual must have x's shape")
    require_contiguous_last_dim(x=x, residual=residual, out=out)
    require_same_device(x=x, weight=weight, residual=residual, out=out)
    y = torch.empty(x.shape, dtype=out_dtype, device=x.device) if out is None else out
    require(y.shape == x.shape and y.dtype == out_dtype, f"out must be {out_dtype} of x's shape")
    total = torch.empty_like(x, memory_format=torch.contiguous_format) if residual is not None else None
    if x.numel():
        _rms_norm[(triton.cdiv(x.shape[0], ROWS),)](
            x, residual, weight, y, total, *x.shape, x.stride(0), residual.stride(0) if residual is not None else 0,
            y.stride(0), eps, ROWS=ROWS, BLOCK=triton.next_power_of_2(x.shape[1]), HAS_RESIDUAL=residual is not None,
        )  # fmt: skip
    return y if total is None else (y, total)


def reference(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    """RMSNorm of x + residual, in float32 or wider."""
    total = rounding.wide(x) if residual is None else rounding.wide(x) + rounding.wide(residual)
    y = rounding.rms_normed(total, weight, eps).to(torch.float64 if x.dtype == torch.float64 else out_dtype)
    return y if residual is None else (y, total.to(x.dtype))


def bound(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    """See the module's derivation."""
    exact = {"x": x.double(), "weight": weight.double(), "eps": eps}
    if residual is None:
        return (rounding.norm_error(x.shape[-1]) * reference(**exact).abs(),)
    y, total = reference(**exact, residual=residual.double())
    return (rounding.norm_error(x.shape[-1]) + 2 * rounding.U32) * y.abs(), rounding.U32 * total.abs()


def inputs(case: Case, device: str) -> dict:
    """x, weight and, where the case has one, a residual of another scale."""
    numbers = Numbers(case, device)
    shape = case["T"], case["H"]
    given = {"x": numbers.activations(*shape), "weight": numbers.norm_weight(case["H"], peak=20.0), "eps": EPS}
    if case.get("residual"):
        given["residual"] = numbers.place(0.3 * numbers.normal(*shape))
        if case.profile == "tiny":
            given["residual"] = given["residual"] * 1e-3
    if case.get("narrow"):
        given["out_dtype"] = numbers.dtype
    return given


def cost(case: Case) -> Cost:
    """x read, y written, and the residual's read and write."""
    count, size = case["T"] * case["H"], getattr(torch, case.dtype).itemsize
    written = size if case.get("narrow") else 4
    return Cost(count * (size + written + (2 * size if case.get("residual") else 0)), 5 * count)


def _case(tokens, width, profile="unit", dtype="bfloat16", residual=0, narrow=0, large=False):
    axes = {"T": tokens, "H": width} | ({"residual": 1} if residual else {}) | ({"narrow": 1} if narrow else {})
    needs = (("residual",) if residual else ()) + (("out_dtype",) if narrow else ())
    return Case("rms_norm", axes, dtype, profile, large=large, needs=needs)


CASES = (
    _case(1, 1024),
    _case(0, 256),
    _case(65, 256, "qwen"),
    _case(7, 1000, "tail", "float16"),
    _case(33, 896, "tail", "float32"),
    _case(16, 256, "tiny"),
    _case(16, 256, "tiny", "float32"),
    _case(9, 1024, "sparse"),
    _case(9, 1024, "extreme"),
    _case(9, 1024, "extreme", "float16"),
    _case(5, 128, "cancel", "float32"),
    _case(33, 1024, "qwen", residual=1),
    _case(7, 1000, "tail", "float16", residual=1),
    _case(17, 256, "tiny", "float32", residual=1),
    _case(9, 256, "qwen", narrow=1),
    _case(5, 1000, "tail", "float16", residual=1, narrow=1),
    _case(4096, 1024, "qwen", large=True),
    _case(4096, 1024, "qwen", residual=1, large=True),
    _case(65536, 1024, "unit", large=True),
    _case(1023, 5120, "tail", large=True),
)

OP = Op(
    call=rms_norm,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"y": "out_dtype or float32", "sum": "x"}, batch_invariant=True),
    bound=bound,
    cost=cost,
    spoilers={
        "without eps": without("eps", 0.0),
        "without weight": with_ones("weight"),
        "without the last column": without_last("x"),
        "without residual": without("residual"),
    },
)
