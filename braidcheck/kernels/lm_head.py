"""Final RMSNorm and the projection to the vocabulary, logits in float32.

Bound: the normalised row carries a norm's error and is rounded once to the weight's dtype (declared); the dot
accumulates in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels import _rounding as rounding
from braidcheck.kernels._device import (
    INTERPRETED,
    norm_and_project_rows,
    require,
    require_rows,
    require_same_device,
    token_block,
)
from braidcheck.kernels._inputs import EPS, Numbers, with_ones, without, without_last
from braidcheck.spec import Case, Contract, Cost, Op

BLOCK_N, BLOCK_K = (256, 256) if INTERPRETED else (64, 128)


@triton.jit
def _lm_head(
    x_ptr, norm_ptr, weight_ptr, out_ptr, num_tokens, vocab, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < vocab
    acc = norm_and_project_rows(
        x_ptr, rows, row_mask, x_stride, norm_ptr, weight_ptr, columns, column_mask, weight_stride, length, eps,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    mask = row_mask[:, None] & column_mask[None, :]
    tl.store(out_ptr + rows[:, None] * vocab + columns[None, :], acc, mask=mask)


def lm_head(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Logits ``rms_norm(x) @ weight.T``: x[T,H], norm_weight[H], weight[V,H] -> float32 [T,V].

    Raises ValueError for shapes, strides or devices it cannot serve.
    """
    require(x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,H] and weight[V,H] must agree in H")
    require(norm_weight.shape == x.shape[1:], f"norm_weight must be [{x.shape[1]}], is {tuple(norm_weight.shape)}")
    require_rows(x=x, norm_weight=norm_weight, weight=weight)
    require_same_device(x=x, norm_weight=norm_weight, weight=weight)
    out = torch.empty(x.shape[0], weight.shape[0], dtype=torch.float32, device=x.device)
    if out.numel():
        block_t = token_block(x.shape[0])
        _lm_head[triton.cdiv(weight.shape[0], BLOCK_N), triton.cdiv(x.shape[0], block_t)](
            x, norm_weight, weight, out, x.shape[0], *weight.shape, x.stride(0), weight.stride(0), eps,
            BLOCK_T=block_t, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K,
        )  # fmt: skip
    return out


def reference(x, norm_weight, weight, eps):
    """Norm and a matrix product."""
    return rounding.wide(rounding.rms_normed(x, norm_weight, eps).to(weight.dtype)) @ rounding.wide(weight).T


def bound(x, norm_weight, weight, eps):
    """See the module's derivation."""
    operand = rounding.rms_normed(x.double(), norm_weight.double(), eps)
    cast = weight.dtype if weight.dtype != torch.float32 else None
    return (rounding.projection_error(operand, weight.double(), cast, rounding.norm_error(x.shape[1])),)


def inputs(case: Case, device: str) -> dict:
    """The residual stream after the last layer, and an embedding as weight."""
    numbers = Numbers(case, device)
    return {
        "x": numbers.activations(case["T"], case["H"]),
        "norm_weight": numbers.norm_weight(case["H"], peak=10.0),
        "weight": numbers.weights(case["V"], case["H"]),
        "eps": EPS,
    }


def cost(case: Case) -> Cost:
    """Weight and x read, float32 logits written."""
    tokens, width, vocab, size = case["T"], case["H"], case["V"], getattr(torch, case.dtype).itemsize
    return Cost(size * width * (vocab + tokens) + 4 * tokens * vocab, 2 * tokens * width * vocab)


def _case(tokens, width, vocab, profile="unit", dtype="bfloat16", large=False):
    return Case("lm_head", {"T": tokens, "H": width, "V": vocab}, dtype, profile, large=large)


CASES = (
    _case(1, 256, 1024),
    _case(0, 256, 1024),
    _case(65, 256, 1024, "qwen"),
    _case(33, 256, 1024, "qwen", "float16"),
    _case(33, 256, 1024, "qwen", "float32"),
    _case(7, 1000, 331, "tail"),
    _case(9, 1024, 128, "cancel"),
    _case(9, 1024, 128, "cancel", "float32"),
    _case(9, 256, 512, "tiny"),
    _case(9, 256, 128, "tiny", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 128, "extreme"),
    _case(1, 1024, 151936, "qwen", large=True),
    _case(129, 1024, 151936, "qwen", large=True),
)

OP = Op(
    call=lm_head,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"logits": "float32"}, casts=("the normalised x to the weight's dtype",)),
    bound=bound,
    cost=cost,
    spoilers={
        "without norm weight": with_ones("norm_weight"),
        "without eps": without("eps", 0.0),
        "without the last column": without_last("x"),
        "without the last token of the vocabulary": without_last("weight", 0),
    },
)
