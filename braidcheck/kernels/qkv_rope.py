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

from braidcheck.kernels import _rope as rope
from braidcheck.kernels import _rounding as rounding
from braidcheck.kernels._device import (
    INTERPRETED,
    norm_halves,
    require,
    require_rows,
    require_same_device,
    rotate_halves,
    token_block,
)
from braidcheck.kernels._inputs import EPS, K_NORM_MAX, Numbers, with_ones, without, without_last, without_rotation
from braidcheck.spec import Case, Contract, Cost, Op

BLOCK_K = 256 if INTERPRETED else 64


@triton.jit
def _qkv_rope(
    x_ptr, weight_ptr, bias_ptr, cos_sin_ptr, positions_ptr, q_norm_ptr, k_norm_ptr, q_ptr, k_ptr, v_ptr,
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
    out_ptr = v_ptr
    out_head = head - NUM_HEADS - NUM_KV_HEADS
    num_heads = NUM_KV_HEADS
    # One choice after the other: Triton 3.6 cannot join the pointers of nested ones for gfx942.
    if head < NUM_HEADS + NUM_KV_HEADS:
        out_ptr = k_ptr
        out_head = head - NUM_HEADS
    if head < NUM_HEADS:
        out_ptr = q_ptr
        out_head = head
        num_heads = NUM_HEADS
    offsets = (rows[:, None] * num_heads + out_head) * HEAD_DIM + dims[None, :]
    tl.store(out_ptr + offsets, acc1.to(out_ptr.dtype.element_ty), mask=out_mask)
    tl.store(out_ptr + offsets + HEAD_DIM // 2, acc2.to(out_ptr.dtype.element_ty), mask=out_mask)


def qkv_rope(
    x: Tensor, qkv_weight: Tensor, cos_sin: Tensor, positions: Tensor, num_heads: int, num_kv_heads: int, head_dim: int,
    qkv_bias: Tensor | None = None, q_norm_weight: Tensor | None = None, k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Project x, normalise each head of Q and K if norm weights are given, rotate Q and K.

    x[T,H] float32, already normalised; qkv_weight[(Hq+2Hkv)*D, H] and qkv_bias[(Hq+2Hkv)*D]; cos_sin[P,D] float32,
    cosines first; positions[T] int32 or int64, below P (others give NaN); norm weights [D], both or neither.
    Returns q[T,Hq,D], k[T,Hkv,D], v[T,Hkv,D] in the weight's dtype. Raises ValueError for what it cannot serve.
    """
    rows = (num_heads + 2 * num_kv_heads) * head_dim
    require(x.dim() == 2 and x.dtype == torch.float32, f"x must be float32 [T,H], is {x.dtype} {tuple(x.shape)}")
    require(qkv_weight.shape == (rows, x.shape[1]), f"qkv_weight must be [{rows},{x.shape[1]}]")
    require(head_dim % 2 == 0, f"head_dim must be even, is {head_dim}")
    require(cos_sin.dim() == 2 and cos_sin.shape[1] == head_dim, f"cos_sin must be [max_positions,{head_dim}]")
    require(cos_sin.dtype == torch.float32 and cos_sin.is_contiguous(), "cos_sin must be contiguous float32")
    require(positions.shape == x.shape[:1] and positions.is_contiguous(), f"positions must be [{x.shape[0]}]")
    require((q_norm_weight is None) == (k_norm_weight is None), "give both q_norm_weight and k_norm_weight or neither")
    require_rows(
        x=x, qkv_weight=qkv_weight, qkv_bias=qkv_bias, q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight
    )
    require_same_device(x=x, qkv_weight=qkv_weight, cos_sin=cos_sin, positions=positions, qkv_bias=qkv_bias)
    q, k, v = (
        torch.empty(x.shape[0], heads, head_dim, dtype=qkv_weight.dtype, device=x.device)
        for heads in (num_heads, num_kv_heads, num_kv_heads)
    )
    if x.shape[0]:
        block_t = token_block(x.shape[0])
        grid = triton.cdiv(x.shape[0], block_t), num_heads + 2 * num_kv_heads
        _qkv_rope[grid](
            x, qkv_weight, qkv_bias, cos_sin, positions, q_norm_weight, k_norm_weight, q, k, v, *x.shape,
            cos_sin.shape[0], x.stride(0), qkv_weight.stride(0), eps, NUM_HEADS=num_heads, NUM_KV_HEADS=num_kv_heads,
            HEAD_DIM=head_dim, HALF=max(16, triton.next_power_of_2(head_dim // 2)), BLOCK_T=block_t, BLOCK_K=BLOCK_K,
            HAS_BIAS=qkv_bias is not None, HAS_NORM=q_norm_weight is not None,
        )  # fmt: skip
    return q, k, v


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
    """A normalised float32 x, weights of about unit gain, and the table up to the case's last position."""
    numbers = Numbers(case, device)
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    given = {
        "x": numbers.activations(case["T"], case["H"], dtype=torch.float32),
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
    return Cost(case["T"] * (4 * case["H"] + size * rows) + size * rows * case["H"], 2 * case["T"] * rows * case["H"])


def _case(tokens, width, shape, positions, profile="unit", dtype="bfloat16", norm=1, bias=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim, "P": positions}
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
    _case(1, 1024, QWEN, 40960, "qwen", large=True),
    _case(513, 1024, QWEN, 40960, "qwen", large=True),
    _case(4096, 1024, QWEN, 40960, "qwen", large=True),
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
