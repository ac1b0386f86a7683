"""Per-head RMSNorm of Q and K, then RoPE, optionally with a compensated power-of-two scale on K.

Bound: inputs are exact, so only the norm's own roundings, the rotation's three and the last one count. The scale is a
power of two and rounds nothing short of underflow; whoever reads the scaled K divides the scores' scale by it.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

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
from braidcheck.kernels.common.rope import rmsnorm_halves as norm_halves
from braidcheck.kernels.common.rope import rotate_halves
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rope, rounding
from braidcheck.op import Case, Contract, Cost, Op

BLOCK_T = 256 if INTERPRETED else 4
SAFE_K_NORM = 100.0  # the documents' threshold: K norms up to it stay unscaled


def safe_k_scale(k_norm_weight: Tensor) -> float:
    """The largest power of two that is at most ``min(1, 100 / max|k_norm_weight|)``.

    1 for the real model's maximum of 96.5. float16 overflows only above a weight of about 5,790, since
    |k| <= weight * sqrt(head_dim).
    """
    peak = float(k_norm_weight.abs().max())
    return min(1.0, 2.0 ** math.floor(math.log2(SAFE_K_NORM / peak))) if peak > 0 else 1.0


@triton.jit
def _qk_norm_rope(
    q_ptr, k_ptr, q_norm_ptr, k_norm_ptr, cos_sin_ptr, positions_ptr, q_out_ptr, k_out_ptr, num_tokens, max_positions,
    q_stride, k_stride, eps, k_scale, NUM_HEADS: tl.constexpr, NUM_KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, HALF)
    row_mask = rows < num_tokens
    dim_mask = dims < HEAD_DIM // 2
    mask = row_mask[:, None] & dim_mask[None, :]
    in_ptr, norm_ptr, out_ptr, stride, heads, scale = q_ptr, q_norm_ptr, q_out_ptr, q_stride, NUM_HEADS, 1.0
    if head >= NUM_HEADS:
        in_ptr, norm_ptr, out_ptr, stride, heads, scale = k_ptr, k_norm_ptr, k_out_ptr, k_stride, NUM_KV_HEADS, k_scale
        head -= NUM_HEADS
    offsets = rows[:, None] * stride + head * HEAD_DIM + dims[None, :]
    first = tl.load(in_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(in_ptr + offsets + HEAD_DIM // 2, mask=mask, other=0.0).to(tl.float32)
    first, second = norm_halves(first, second, norm_ptr, dims, dim_mask, eps, HEAD_DIM)
    positions = tl.load(positions_ptr + rows, mask=row_mask, other=0).to(tl.int64)
    first, second = rotate_halves(
        first, second, cos_sin_ptr, positions, row_mask, max_positions, dims, dim_mask, HEAD_DIM
    )
    out = out_ptr + (rows[:, None] * heads + head) * HEAD_DIM + dims[None, :]
    tl.store(out, (first * scale).to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(out + HEAD_DIM // 2, (second * scale).to(out_ptr.dtype.element_ty), mask=mask)


def qk_norm_rope(
    q: Tensor, k: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor, positions: Tensor, eps: float,
    k_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Normalise each head of q[T,Hq,D] and k[T,Hkv,D], rotate both, multiply k by ``k_scale``.

    Norm weights [D]; cos_sin[P,D] float32, cosines first; positions[T] int32 or int64, below P (others give NaN);
    ``k_scale`` a power of two (see ``safe_k_scale``), to be undone in the scores' scale. Returns q, k in their own
    dtypes. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k.dim() == 3 and q.shape[::2] == k.shape[::2], "q[T,Hq,D] and k[T,Hkv,D] must agree")
    head_dim = q.shape[2]
    require(head_dim % 2 == 0, f"head_dim must be even, is {head_dim}")
    require(q.dtype == k.dtype, f"q is {q.dtype}, k {k.dtype}: they must be alike")
    require(q_norm_weight.shape == k_norm_weight.shape == (head_dim,), f"norm weights must be [{head_dim}]")
    require(cos_sin.dim() == 2 and cos_sin.shape[1] == head_dim, f"cos_sin must be [max_positions,{head_dim}]")
    require(cos_sin.dtype == torch.float32 and cos_sin.is_contiguous(), "cos_sin must be contiguous float32")
    require(positions.shape == q.shape[:1] and positions.is_contiguous(), f"positions must be [{q.shape[0]}]")
    require(k_scale > 0 and math.frexp(k_scale)[0] == 0.5, f"k_scale must be a power of two, is {k_scale}")
    require(q.stride()[1:] == (head_dim, 1) == k.stride()[1:], "the heads of q and k must be contiguous")
    require_contiguous_last_dim(q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight)
    require_same_device(q=q, k=k, q_norm_weight=q_norm_weight, cos_sin=cos_sin, positions=positions)
    q_out, k_out = (
        torch.empty(q.shape, dtype=q.dtype, device=q.device),
        torch.empty(k.shape, dtype=k.dtype, device=k.device),
    )
    if q.shape[0]:
        _qk_norm_rope[triton.cdiv(q.shape[0], BLOCK_T), q.shape[1] + k.shape[1]](
            q, k, q_norm_weight, k_norm_weight, cos_sin, positions, q_out, k_out, q.shape[0], cos_sin.shape[0],
            q.stride(0), k.stride(0), eps, k_scale, NUM_HEADS=q.shape[1], NUM_KV_HEADS=k.shape[1], HEAD_DIM=head_dim,
            HALF=triton.next_power_of_2(head_dim // 2), BLOCK_T=BLOCK_T,
        )  # fmt: skip
    return q_out, k_out


def reference(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps, k_scale=1.0):
    """Norm per head, rotate, scale K."""
    q_out = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions)
    k_out = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions)
    return q_out.to(q.dtype), (k_out * k_scale).to(k.dtype)


def bound(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps, k_scale=1.0):
    """See the module's derivation."""

    def of(x: Tensor, weight: Tensor, scale: float) -> Tensor:
        normed = rope.normed_error(x.double(), torch.zeros_like(x, dtype=torch.float64), weight, eps)
        return scale * rope.rotated_error(*normed, cos_sin, positions)

    return of(q, q_norm_weight, 1.0), of(k, k_norm_weight, k_scale)


def inputs(case: Case, device: str) -> dict:
    """Q and K as projected; in ``extreme`` K's norm weight reaches 8,192 and its rows are one-hot."""
    numbers = Numbers(case, device)
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    q, k = numbers.activations(tokens, heads, dim), numbers.activations(tokens, kv_heads, dim)
    k_norm = numbers.norm_weight(dim, peak=K_NORM_MAX)
    if case.profile == "extreme":
        k = torch.zeros_like(k)
        k[..., dim // 3] = 1.0
        k_norm = torch.full_like(k_norm, 8192.0)
    given = {
        "q": q,
        "k": k,
        "q_norm_weight": numbers.norm_weight(dim, peak=4.0),
        "k_norm_weight": k_norm,
        "cos_sin": rope.rope_table(case["P"], dim, device=device),
        "positions": numbers.positions(tokens, case["P"]),
        "eps": EPS,
    }
    if case.get("scaled"):
        given["k_scale"] = safe_k_scale(k_norm)
    return given


def cost(case: Case) -> Cost:
    """Q and K read and written."""
    count = case["T"] * (case["Hq"] + case["Hkv"]) * case["D"]
    return Cost(2 * count * getattr(torch, case.dtype).itemsize, 10 * count)


def _case(tokens, shape, positions, profile="unit", dtype="bfloat16", scaled=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "Hq": heads, "Hkv": kv_heads, "D": dim, "P": positions} | ({"scaled": 1} if scaled else {})
    return Case("qk_norm_rope", axes, dtype, profile, large=large, needs=("k_scale",) if scaled else ())


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, NANO, 64),
    _case(0, NANO, 64),
    _case(65, NANO, 4096, "qwen"),
    _case(33, NANO, 4096, "qwen", "float16"),
    _case(33, NANO, 4096, "qwen", "float32"),
    _case(5, QWEN, 40960, "qwen", scaled=1),
    _case(19, (3, 1, 80), 517, "tail"),
    _case(300, (2, 1, 32), 517, "tail", "float16"),
    _case(9, NANO, 300, "tiny"),
    _case(9, NANO, 300, "tiny", "float32"),
    _case(9, NANO, 300, "sparse"),
    _case(9, QWEN, 300, "extreme", "float16", scaled=1),
    _case(4096, QWEN, 40960, "qwen", large=True),
    _case(513, QWEN, 40960, "qwen", "float16", scaled=1, large=True),
)

OP = Op(
    call=qk_norm_rope,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"q": "q", "k": "k"}, batch_invariant=True),
    bound=bound,
    cost=cost,
    spoilers={
        "without rotation": without_rotation,
        "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
        "without eps": without("eps", 0.0),
        "without k_scale": without("k_scale", 1.0),
        "without the last dimension": without_last("k"),
    },
)
