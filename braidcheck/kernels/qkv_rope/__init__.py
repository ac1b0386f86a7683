"""QKV projection of a normalised float32 input, per-head Q/K RMSNorm, then RoPE for Q and K.

Bound: x is rounded to the weight's dtype (declared), products accumulate in float32, the bias adds one rounding. The
norm carries an element's own error e_i times |w_i|/rms, and that of the sum of squares: r^2 |p_i| sum_j |p_j| e_j / D,
where the e_j are independent roundings. RoPE mixes the errors of
a rotated pair and rounds three times. The result is rounded once to the weight's dtype.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.device import norm_halves, rotate_halves
from braidcheck.kernels.common.inputs import (
    EPS,
    K_NORM_MAX,
    Numbers,
    with_ones,
    without,
    without_last,
    without_rotation,
)
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rope, rounding
from braidcheck.op import Case, Contract, Cost, Op

BLOCK_K = 256 if INTERPRETED else 64
IN_INTERPRETER = tl.constexpr(INTERPRETED)
PAIR = 8  # bytes of two angles that many tokens' kernel loads at once


@triton.jit
def _qkv_rope(
    x_ptr, weight_ptr, bias_ptr, cos_sin_ptr, positions_ptr, q_norm_ptr, k_norm_ptr, out_ptr,
    num_tokens, width, max_positions, x_stride, weight_stride, eps, NUM_HEADS: tl.constexpr, NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, HALF: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_NORM: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, HALF)
    row_mask = rows < num_tokens
    dim_mask = dims < HEAD_DIM // 2
    first = (head * HEAD_DIM + dims).to(tl.int64)  # rows of the weight that make the first half of this head
    second = first + HEAD_DIM // 2
    acc1 = tl.zeros([BLOCK_T, HALF], dtype=tl.float32)
    acc2 = tl.zeros([BLOCK_T, HALF], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < width
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        x = x.to(weight_ptr.dtype.element_ty)
        mask = k_mask[:, None] & dim_mask[None, :]
        w1 = tl.load(weight_ptr + first[None, :] * weight_stride + k[:, None], mask=mask, other=0.0)
        w2 = tl.load(weight_ptr + second[None, :] * weight_stride + k[:, None], mask=mask, other=0.0)
        acc1 = tl.dot(x, w1, acc1, input_precision="ieee")
        acc2 = tl.dot(x, w2, acc2, input_precision="ieee")
    if HAS_BIAS:
        acc1 += tl.load(bias_ptr + first, mask=dim_mask, other=0.0).to(tl.float32)[None, :]
        acc2 += tl.load(bias_ptr + second, mask=dim_mask, other=0.0).to(tl.float32)[None, :]
    if head < NUM_HEADS + NUM_KV_HEADS:
        if HAS_NORM:
            norm_ptr = k_norm_ptr
            if head < NUM_HEADS:
                norm_ptr = q_norm_ptr
            acc1, acc2 = norm_halves(acc1, acc2, norm_ptr, dims, dim_mask, eps, HEAD_DIM)
        positions = tl.load(positions_ptr + rows, mask=row_mask, other=0).to(tl.int64)
        acc1, acc2 = rotate_halves(
            acc1, acc2, cos_sin_ptr, positions, row_mask, max_positions, dims, dim_mask, HEAD_DIM
        )
    out_mask = row_mask[:, None] & dim_mask[None, :]
    offsets = (rows[:, None] * tl.num_programs(1) + head) * HEAD_DIM + dims[None, :]
    tl.store(out_ptr + offsets, acc1.to(out_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out_ptr + offsets + HEAD_DIM // 2, acc2.to(out_ptr.dtype.element_ty), mask=out_mask)


@triton.jit
def _angles(row_ptr, known, HALF: tl.constexpr):
    """Cosines or sines [rows, HALF] from where each row's begin; NaN in rows that are not ``known``.

    A tl.load would read them as they lie in memory and exchange them through shared memory, which a fourth stage of the
    product wants; assembly leaves each pair with the thread that multiplies by it.
    """
    at = row_ptr[:, None] + 2 * tl.arange(0, HALF // 2)[None, :]
    if IN_INTERPRETER:
        even = tl.load(at, mask=known[:, None], other=float("nan"))
        odd = tl.load(at + 1, mask=known[:, None], other=float("nan"))
    else:
        even, odd = tl.inline_asm_elementwise(
            """{
            .reg .pred known;
            setp.ne.b32 known, $3, 0;
            mov.b32 $0, 0x7fc00000;
            mov.b32 $1, 0x7fc00000;
            @known ld.global.nc.v2.f32 {$0, $1}, [$2];
            }""",
            "=f,=f,l,r",
            [at.to(tl.int64), known.to(tl.int32)[:, None]],
            dtype=(tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    return tl.reshape(tl.join(even, odd), (row_ptr.shape[0], HALF))


@triton.jit
def _place(block, num_tokens, width, QK_WIDTH: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr):
    """First row and column of a block: V's, which end soonest, come last, so that all programs have as many."""
    early = many.blocks(num_tokens, QK_WIDTH, BLOCK_T, BLOCK_N)
    is_v = block >= early
    block -= tl.where(is_v, early, 0)
    row, column = many.place(block, num_tokens, tl.where(is_v, width - QK_WIDTH, QK_WIDTH), BLOCK_T, BLOCK_N)
    return row, column + tl.where(is_v, QK_WIDTH, 0)


@triton.jit
def _qkv_rope_of_many(
    x, weight, bias_ptr, cos_sin_ptr, positions_ptr, q_norm_ptr, k_norm_ptr, out, num_tokens, width, length,
    max_positions, eps, Q_WIDTH: tl.constexpr, QK_WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr, HEADS: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_NORM: tl.constexpr,
):  # fmt: skip
    BLOCK_N: tl.constexpr = HEADS * HEAD_DIM
    HALF: tl.constexpr = HEAD_DIM // 2
    dims = tl.arange(0, HALF)
    count = many.blocks(num_tokens, width, BLOCK_T, BLOCK_N)
    for block in tl.range(tl.program_id(0), count, tl.num_programs(0), flatten=True):
        row, column = _place(block, num_tokens, width, QK_WIDTH, BLOCK_T, BLOCK_N)
        acc = many.product(x, weight, row, column, length, BLOCK_T, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            acc += tl.load(bias_ptr + column + tl.arange(0, BLOCK_N)).to(tl.float32)[None, :]
        first, second = tl.split(tl.permute(tl.reshape(acc, (BLOCK_T, HEADS, 2, HALF)), (0, 1, 3, 2)))
        left, right = first.to(out.dtype), second.to(out.dtype)
        if column < QK_WIDTH:  # a block's heads are all Q's, all K's or all V's
            rows = row + tl.arange(0, BLOCK_T)
            positions = tl.load(positions_ptr + rows, mask=rows < num_tokens, other=-1)
            known = (positions >= 0) & (positions < max_positions)
            angles = cos_sin_ptr + positions.to(tl.int32) * HEAD_DIM
            cos, sin = _angles(angles, known, HALF)[:, None, :], _angles(angles + HALF, known, HALF)[:, None, :]
            if HAS_NORM:
                inverse = 1.0 / tl.sqrt(tl.sum(first * first + second * second, axis=2) / HEAD_DIM + eps)
                norm_ptr = tl.where(column < Q_WIDTH, q_norm_ptr, k_norm_ptr)
                first *= tl.load(norm_ptr + dims).to(tl.float32)[None, None, :]
                second *= tl.load(norm_ptr + HALF + dims).to(tl.float32)[None, None, :]
            turned_first, turned_second = first * cos - second * sin, second * cos + first * sin
            if HAS_NORM:  # after the rotation: fewer numbers are held until there
                turned_first *= inverse[:, :, None]
                turned_second *= inverse[:, :, None]
            left, right = turned_first.to(out.dtype), turned_second.to(out.dtype)
        heads = tl.join(left, right)
        heads = tl.reshape(tl.permute(heads, (0, 1, 3, 2)), (BLOCK_T, BLOCK_N))
        if HEADS == 1:
            out.store([row, column], heads)
        else:
            one, other = many.halves(heads, BLOCK_T, BLOCK_N)
            out.store([row, column], one)
            out.store([row, column + HEAD_DIM], other)


def qkv_rope(
    x: Tensor, qkv_weight: Tensor, cos_sin: Tensor, positions: Tensor, num_heads: int, num_kv_heads: int, head_dim: int,
    qkv_bias: Tensor | None = None, q_norm_weight: Tensor | None = None, k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Project x, normalise each head of Q and K if norm weights are given, rotate Q and K.

    x[T,H] already normalised, float32 or rounded to the weight's dtype; qkv_weight[(Hq+2Hkv)*D, H] and
    qkv_bias[(Hq+2Hkv)*D]; cos_sin[P,D] float32, cosines first; positions[T] int32 or int64, below P (others give NaN);
    norm weights [D], both or neither, of one dtype. Returns q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D], parts of one tensor, in
    the weight's dtype. Raises ValueError for what it cannot serve.
    """
    rows = (num_heads + 2 * num_kv_heads) * head_dim
    require(x.dim() == 2, f"x must be [T,H], is {tuple(x.shape)}")
    require(x.dtype in (torch.float32, qkv_weight.dtype), f"x must be float32 or as the weight, is {x.dtype}")
    require(qkv_weight.shape == (rows, x.shape[1]), f"qkv_weight must be [{rows},{x.shape[1]}]")
    require(head_dim % 2 == 0, f"head_dim must be even, is {head_dim}")
    require(cos_sin.dim() == 2 and cos_sin.shape[1] == head_dim, f"cos_sin must be [max_positions,{head_dim}]")
    require(cos_sin.dtype == torch.float32 and cos_sin.is_contiguous(), "cos_sin must be contiguous float32")
    require(positions.shape == x.shape[:1] and positions.is_contiguous(), f"positions must be [{x.shape[0]}]")
    norms = q_norm_weight, k_norm_weight
    require((norms[0] is None) == (norms[1] is None), "give both q_norm_weight and k_norm_weight or neither")
    require(norms[0] is None or norms[0].dtype == norms[1].dtype, "q_norm_weight and k_norm_weight must have one dtype")
    require_contiguous_last_dim(
        x=x, qkv_weight=qkv_weight, qkv_bias=qkv_bias, q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight
    )
    require_same_device(x=x, qkv_weight=qkv_weight, cos_sin=cos_sin, positions=positions, qkv_bias=qkv_bias)
    out = torch.empty(x.shape[0], rows, dtype=qkv_weight.dtype, device=x.device)
    whole = head_dim >= 32 and head_dim == triton.next_power_of_2(head_dim)
    if whole and cos_sin.data_ptr() % PAIR == 0 and many.serves("qkv_rope", x, qkv_weight, out):
        x = many.operand(x, qkv_weight.dtype)
        _of_many(x, qkv_weight, qkv_bias, cos_sin, positions, norms, out, num_heads, num_kv_heads, eps)
    elif x.shape[0]:
        block_t = default_block_m(x.shape[0])
        grid = triton.cdiv(x.shape[0], block_t), num_heads + 2 * num_kv_heads
        _qkv_rope[grid](
            x, qkv_weight, qkv_bias, cos_sin, positions, *norms, out, *x.shape, cos_sin.shape[0], x.stride(0),
            qkv_weight.stride(0), eps, NUM_HEADS=num_heads, NUM_KV_HEADS=num_kv_heads, HEAD_DIM=head_dim,
            HALF=max(16, triton.next_power_of_2(head_dim // 2)), BLOCK_T=block_t, BLOCK_K=BLOCK_K,
            HAS_BIAS=qkv_bias is not None, HAS_NORM=q_norm_weight is not None,
        )  # fmt: skip
    return _split(out, num_heads, num_kv_heads, head_dim)


def _of_many(
    x: Tensor, weight: Tensor, bias: Tensor | None, cos_sin: Tensor, positions: Tensor,
    norms: tuple[Tensor | None, Tensor | None], out: Tensor, num_heads: int, num_kv_heads: int, eps: float,
) -> None:  # fmt: skip
    head_dim = cos_sin.shape[1]
    cut = pinned.cut(many.cut_name("qkv_rope", *out.shape))
    if num_heads % cut["HEADS"] or num_kv_heads % cut["HEADS"]:
        cut["HEADS"] = 1
    block_t, block_n, block_k = cut["BLOCK_T"], cut["HEADS"] * head_dim, cut["BLOCK_K"]
    _qkv_rope_of_many[many.programs(*out.shape, block_t, block_n, cut.pop("RESIDENT"))](
        many.tiles(x, block_t, block_k), many.tiles(weight, block_n, block_k), bias, cos_sin, positions, *norms,
        many.tiles(out, block_t, head_dim), *out.shape, x.shape[1], cos_sin.shape[0], eps,
        Q_WIDTH=num_heads * head_dim, QK_WIDTH=(num_heads + num_kv_heads) * head_dim, HEAD_DIM=head_dim,
        HAS_BIAS=bias is not None, HAS_NORM=norms[0] is not None, **cut,
    )  # fmt: skip


def _split(x: Tensor, num_heads: int, num_kv_heads: int, head_dim: int) -> tuple[Tensor, ...]:
    return x.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim)).split(
        [num_heads, num_kv_heads, num_kv_heads], dim=1
    )


def reference(
    x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, qkv_bias=None, q_norm_weight=None,
    k_norm_weight=None, eps=EPS,
):  # fmt: skip
    """Project, norm per head, rotate: the order of HF transformers."""
    operand = rounding.wide(x.to(qkv_weight.dtype))
    bias = None if qkv_bias is None else rounding.wide(qkv_bias)
    qkv = torch.nn.functional.linear(operand, rounding.wide(qkv_weight), bias)
    q, k, v = _split(qkv, num_heads, num_kv_heads, head_dim)
    if q_norm_weight is not None:
        q, k = rope.head_norm(q, q_norm_weight, eps), rope.head_norm(k, k_norm_weight, eps)
    q, k = rope.rotate(q, cos_sin, positions), rope.rotate(k, cos_sin, positions)
    return tuple(part.to(qkv_weight.dtype) for part in (q, k, v))


def bound(
    x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim, qkv_bias=None, q_norm_weight=None,
    k_norm_weight=None, eps=EPS,
):  # fmt: skip
    """See the module's derivation."""
    wide, weight = x.double(), qkv_weight.double()
    cast = qkv_weight.dtype if qkv_weight.dtype != torch.float32 else None
    error = rounding.projection_error(wide, weight, cast)
    projected = wide @ weight.T
    if qkv_bias is not None:
        projected = projected + qkv_bias.double()
        error = error + rounding.U32 * projected.abs()
    sizes = num_heads, num_kv_heads, head_dim
    (q, k, _), (q_error, k_error, v_error) = _split(projected, *sizes), _split(error, *sizes)
    rotated = [
        rope.rotated_error(*rope.normed_error(head, head_error, weight, eps), cos_sin, positions)
        for head, head_error, weight in ((q, q_error, q_norm_weight), (k, k_error, k_norm_weight))
    ]
    return *rotated, v_error


def inputs(case: Case, device: str) -> dict:
    """A normalised x (of the weight's dtype if ``narrow``), weights of about unit gain, the table up to position P."""
    numbers = Numbers(case, device)
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    given = {
        "x": numbers.activations(case["T"], case["H"], dtype=None if case.get("narrow") else torch.float32),
        "qkv_weight": numbers.weights((heads + 2 * kv_heads) * dim, case["H"]),
        "cos_sin": rope.rope_table(case["P"], dim, device=device),
        "positions": numbers.positions(case["T"], case["P"]),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": dim,
    }
    if case.get("bias"):
        given["qkv_bias"] = numbers.place(numbers.normal((heads + 2 * kv_heads) * dim))
    if case.get("norm"):
        given |= {
            "q_norm_weight": numbers.norm_weight(dim, peak=4.0),
            "k_norm_weight": numbers.norm_weight(dim, peak=K_NORM_MAX),
            "eps": EPS,
        }
    return given


def cost(case: Case) -> Cost:
    """x and the weight read once, q, k and v written."""
    size, rows = getattr(torch, case.dtype).itemsize, (case["Hq"] + 2 * case["Hkv"]) * case["D"]
    x = case["T"] * case["H"] * (size if case.get("narrow") else 4)
    return Cost(x + size * rows * (case["T"] + case["H"]), 2 * case["T"] * rows * case["H"])


def _case(tokens, width, shape, positions, profile="unit", dtype="bfloat16", norm=1, bias=0, narrow=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim, "P": positions}
    axes |= {"narrow": 1} if narrow else {}
    needs = ()
    if norm:
        axes["norm"] = 1
        needs += "q_norm_weight", "k_norm_weight", "eps"
    if bias:
        axes["bias"] = 1
        needs += ("qkv_bias",)
    return Case("qkv_rope", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 256, NANO, 64),
    _case(0, 256, NANO, 64),
    _case(65, 256, NANO, 4096, "qwen"),
    _case(33, 256, NANO, 4096, "qwen", "float16"),
    _case(33, 256, NANO, 4096, "qwen", "float32"),
    _case(5, 1024, QWEN, 40960, "qwen"),
    _case(19, 1000, (3, 1, 80), 517, "tail"),
    _case(19, 896, (14, 2, 64), 517, "tail", bias=1, norm=0),
    _case(7, 264, (2, 2, 32), 300, "tail", "float16", bias=1),
    _case(9, 256, NANO, 300, "tiny"),
    _case(9, 256, NANO, 300, "tiny", "float32"),
    _case(9, 512, NANO, 300, "sparse"),
    _case(9, 1024, (2, 1, 64), 300, "cancel"),
    _case(9, 1024, (2, 1, 64), 300, "cancel", "float32", norm=0),
    _case(9, 256, NANO, 300, "extreme", norm=0),
    _case(70, 264, (3, 1, 32), 300, "tail", "float16", norm=0, bias=1),
    _case(66, 264, (3, 2, 64), 517, "tail", narrow=1),
    _case(70, 264, (4, 2, 32), 300, "tail", "float16", bias=1),
    _case(66, 1024, (2, 1, 64), 300, "cancel"),
    _case(66, 129, (2, 1, 80), 517, "tail"),
    _case(67, 256, NANO, 300, "tiny"),
    _case(9, 256, NANO, 300, "qwen", narrow=1),
    _case(1, 1024, QWEN, 40960, "qwen", large=True),
    _case(513, 1024, QWEN, 40960, "qwen", large=True),
    _case(4096, 1024, QWEN, 40960, "qwen", large=True),
    _case(4096, 1024, QWEN, 40960, "qwen", narrow=1, large=True),
    _case(300, 1024, QWEN, 40960, "tail", "float16", norm=0, bias=1, large=True),
)

OP = Op(
    call=qkv_rope,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs={"q": "qkv_weight", "k": "qkv_weight", "v": "qkv_weight"}, casts=("x to the weight's dtype",)
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without rotation": without_rotation,
        "without norms": lambda given: given | dict.fromkeys(("q_norm_weight", "k_norm_weight")),
        "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
        "without eps": without("eps", 0.0),
        "without bias": without("qkv_bias"),
        "without the last column": without_last("x"),
        "without the last weight row": without_last("qkv_weight", 0),
    },
)
