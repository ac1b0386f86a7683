"""Final RMSNorm and the projection to the vocabulary, logits in float32.

Bound: the normalised row carries a norm's error and is rounded once to the weight's dtype (declared); the dot
accumulates in float32. The argmax form gives the lowest of the best tokens; another one uses the share
(best logit - its own) / (the bounds of both): only margins above both bounds are judged.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.device import norm_and_project_rows
from braidcheck.kernels.common.inputs import EPS, Numbers, with_ones, without, without_last
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.op import Case, Contract, Cost, Op

NONE = tl.constexpr(2147483647)  # no token


@triton.jit
def _ranked(logits):
    """A NaN counts as the best, as torch has it; no NaN leads to a token outside the vocabulary."""
    return tl.where(logits == logits, logits, float("inf"))


@triton.jit
def _lm_head(
    x_ptr, norm_ptr, weight_ptr, out_ptr, best_ptr, num_tokens, vocab, length, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, ARGMAX: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)
    rows = (tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = (tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    row_mask = rows < num_tokens
    column_mask = columns < vocab
    overlap.wait(OVERLAP)
    acc = norm_and_project_rows(
        x_ptr, rows, row_mask, x_stride, norm_ptr, weight_ptr, columns, column_mask, weight_stride, length, eps,
        BLOCK_T, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    if ARGMAX:
        acc = tl.where(column_mask[None, :], _ranked(acc), float("-inf"))
        place = rows * tl.num_programs(0) + tl.program_id(0)
        tl.store(out_ptr + place, tl.max(acc, axis=1), mask=row_mask)
        best = tl.program_id(0) * BLOCK_N + tl.argmax(acc, axis=1)
        tl.store(best_ptr + place, best, mask=row_mask)
    else:
        mask = row_mask[:, None] & column_mask[None, :]
        tl.store(out_ptr + rows[:, None] * vocab + columns[None, :], acc, mask=mask)


@triton.jit
def _lm_head_of_few(
    x_ptr, norm_ptr, weight_ptr, out_ptr, best_ptr, num_tokens, vocab, x_stride, weight_stride, eps,
    BLOCK_T: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, COUNT: tl.constexpr,
    ARGMAX: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    step = tl.num_programs(0) * ROWS
    tokens = tl.arange(0, BLOCK_T).to(tl.int64)
    columns = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    weight = few.hold(weight_ptr, columns, columns < vocab, weight_stride, WIDTH, CHUNK, COUNT)
    norm = few.hold_row(norm_ptr, WIDTH, CHUNK, COUNT)
    overlap.begin(OVERLAP)
    overlap.wait(OVERLAP)
    x = few.hold(x_ptr, tokens, tokens < num_tokens, x_stride, WIDTH, CHUNK, COUNT)
    pieces, scale = few.normed(x, norm, weight[0].dtype, eps, BLOCK_T, WIDTH, COUNT)
    top = tl.full([BLOCK_T, ROWS], float("-inf"), dtype=tl.float32)
    best = tl.full([BLOCK_T, ROWS], NONE, dtype=tl.int32)
    for start in range(tl.program_id(0) * ROWS, vocab, step):
        columns = (start + tl.arange(0, ROWS)).to(tl.int64)
        # The rows after these are asked for before these are worked on.
        coming = few.hold(weight_ptr, columns + step, columns + step < vocab, weight_stride, WIDTH, CHUNK, COUNT)
        acc = few.project(pieces, weight, BLOCK_T, COUNT) * scale
        weight = coming
        if ARGMAX:
            acc = _ranked(acc)
            higher = (columns < vocab)[None, :] & ((acc > top) | (best == NONE))
            top = tl.where(higher, acc, top)
            best = tl.where(higher, columns.to(tl.int32)[None, :], best)
        else:
            mask = (tokens < num_tokens)[:, None] & (columns < vocab)[None, :]
            tl.store(out_ptr + tokens[:, None] * vocab + columns[None, :], acc, mask=mask)
    if ARGMAX:
        highest = tl.max(top, axis=1)
        lowest = tl.min(tl.where(top == highest[:, None], best, NONE), axis=1)
        place = tokens * tl.num_programs(0) + tl.program_id(0)
        tl.store(out_ptr + place, highest, mask=tokens < num_tokens)
        tl.store(best_ptr + place, lowest, mask=tokens < num_tokens)


@triton.jit
def _best_block(top_ptr, best_ptr, out_ptr, num_blocks, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    blocks = tl.arange(0, BLOCK)
    there = blocks < num_blocks
    tops = tl.load(top_ptr + row * num_blocks + blocks, mask=there, other=float("-inf"))
    best = tl.load(best_ptr + row * num_blocks + blocks, mask=there, other=NONE)
    # Equal logits in several blocks: the lowest token wins, as torch and HF have it.
    token = tl.min(tl.where(tops == tl.max(tops, axis=0), best, NONE), axis=0)
    tl.store(out_ptr + row, token.to(tl.int64))


def lm_head(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """Logits ``rms_norm(x) @ weight.T``, or with ``argmax`` the token of the best one, the lowest where they tie.

    x[T,H], norm_weight[H], weight[V,H]. Returns float32 [T,V], or int64 [T] without the logits being stored; a NaN
    counts as the best. Raises ValueError for shapes, strides or devices it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,H] and weight[V,H] must agree in H"
    )
    require(norm_weight.shape == x.shape[1:], f"norm_weight must be [{x.shape[1]}], is {tuple(norm_weight.shape)}")
    require_contiguous_last_dim(x=x, norm_weight=norm_weight, weight=weight)
    require_same_device(x=x, norm_weight=norm_weight, weight=weight)
    tokens, vocab = x.shape[0], weight.shape[0]
    if held := tokens == 1 and few.serves(x, weight):  # several read the vocabulary faster in larger blocks
        cut = few.cut("lm_head", x)
        num_blocks = min(cut.pop("PROGRAMS"), triton.cdiv(vocab, cut["ROWS"]))  # that share the vocabulary
    else:
        block_t = default_block_m(tokens)
        cut = pinned.cut(f"lm_head in blocks of {block_t}")
        num_blocks = triton.cdiv(vocab, cut["BLOCK_N"])
    out = torch.empty(tokens, num_blocks if argmax else vocab, dtype=torch.float32, device=x.device)
    best = torch.empty(tokens, num_blocks, dtype=torch.int32, device=x.device) if argmax else None
    if not out.numel():
        pass
    elif held:
        _lm_head_of_few[(num_blocks,)](
            x, norm_weight, weight, out, best, tokens, vocab, x.stride(0), weight.stride(0), eps, ARGMAX=argmax,
            **cut, **overlap.options(),
        )  # fmt: skip
    else:
        _lm_head[num_blocks, triton.cdiv(tokens, block_t)](
            x, norm_weight, weight, out, best, tokens, *weight.shape, x.stride(0), weight.stride(0), eps,
            BLOCK_T=block_t, ARGMAX=argmax, **cut, **overlap.options(),
        )  # fmt: skip
    if not argmax:
        return out
    token = torch.empty(tokens, dtype=torch.int64, device=x.device)
    if tokens:
        _best_block[(tokens,)](out, best, token, num_blocks, BLOCK=triton.next_power_of_2(num_blocks))
    return token


def reference(x, norm_weight, weight, eps, argmax=False):
    """Norm, a matrix product and, if asked for, the best token."""
    logits = rounding.wide(rounding.rms_normed(x, norm_weight, eps).to(weight.dtype)) @ rounding.wide(weight).T
    return logits.argmax(-1) if argmax else logits


def bound(x, norm_weight, weight, eps, argmax=False):
    """See the module's derivation. With ``argmax`` the share [T,V] that each token would use."""
    operand = rounding.rms_normed(x.double(), norm_weight.double(), eps)
    cast = weight.dtype if weight.dtype != torch.float32 else None
    error = rounding.projection_error(operand, weight.double(), cast, rounding.norm_error(x.shape[1]))
    if not argmax:
        return (error,)
    logits = operand @ weight.double().T
    best = logits.argmax(-1, keepdim=True)
    return ((logits.gather(1, best) - logits) / (error + error.gather(1, best)),)


def inputs(case: Case, device: str) -> dict:
    """The residual stream after the last layer, and an embedding as weight."""
    numbers = Numbers(case, device)
    return {
        "x": numbers.activations(case["T"], case["H"]),
        "norm_weight": numbers.norm_weight(case["H"], peak=10.0),
        "weight": numbers.weights(case["V"], case["H"]),
        "eps": EPS,
        **({"argmax": True} if case.get("argmax") else {}),
    }


def cost(case: Case) -> Cost:
    """Weight and x read, float32 logits written."""
    tokens, width, vocab, size = case["T"], case["H"], case["V"], getattr(torch, case.dtype).itemsize
    written = 8 * tokens if case.get("argmax") else 4 * tokens * vocab
    return Cost(size * width * (vocab + tokens) + written, 2 * tokens * width * vocab)


def _case(tokens, width, vocab, profile="unit", dtype="bfloat16", argmax=0, large=False):
    axes = {"T": tokens, "H": width, "V": vocab} | ({"argmax": 1} if argmax else {})
    return Case("lm_head", axes, dtype, profile, large=large, needs=("argmax",) if argmax else ())


CASES = (
    _case(1, 256, 1024),
    _case(1, 256, 1024, "qwen", "float16"),
    _case(1, 2100, 70, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 256, 512, "tiny", "float32"),
    _case(1, 1024, 128, "cancel"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 128, "extreme"),
    _case(1, 256, 1500, "qwen", argmax=1),
    _case(1, 1000, 331, "tail", "float16", argmax=1),
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
    _case(33, 256, 1024, "qwen", argmax=1),
    _case(7, 1000, 331, "tail", "float16", argmax=1),
    _case(9, 256, 128, "unit", "float32", argmax=1),
    _case(1, 1024, 151936, "qwen", large=True),
    _case(4, 1024, 151936, "qwen", argmax=1, large=True),
    _case(129, 1024, 151936, "qwen", large=True),
)

OP = Op(
    call=lm_head,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs={"logits": "int64 if argmax or float32"}, casts=("the normalised x to the weight's dtype",)
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without norm weight": with_ones("norm_weight"),
        "without eps": without("eps", 0.0),
        "without the last column": without_last("x"),
        "without the last token of the vocabulary": without_last("weight", 0),
    },
)
