"""QKV projection of a normalised float32 input, per-head Q/K RMSNorm, then RoPE for Q and K."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.inputs import EPS
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.qkv_rope import cases, oracle
from braidcheck.kernels.qkv_rope.kernel import _qkv_rope, _qkv_rope_of_many
from braidcheck.op import Contract, Op

BLOCK_K = 256 if INTERPRETED else 64
PAIR = 8  # bytes of two angles that many tokens' kernel loads at once


def qkv_rope(
    x: Tensor,
    qkv_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    qkv_bias: Tensor | None = None,
    q_norm_weight: Tensor | None = None,
    k_norm_weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, Tensor, Tensor]:
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
    if whole and cos_sin.data_ptr() % PAIR == 0 and many.supports_persistent_gemm("qkv_rope", x, qkv_weight, out):
        x = many.tma_operand(x, qkv_weight.dtype)
        _of_many(x, qkv_weight, qkv_bias, cos_sin, positions, norms, out, num_heads, num_kv_heads, eps)
    elif x.shape[0]:
        block_t = default_block_m(x.shape[0])
        grid = triton.cdiv(x.shape[0], block_t), num_heads + 2 * num_kv_heads
        _qkv_rope[grid](
            x,
            qkv_weight,
            qkv_bias,
            cos_sin,
            positions,
            *norms,
            out,
            *x.shape,
            cos_sin.shape[0],
            x.stride(0),
            qkv_weight.stride(0),
            eps,
            NUM_HEADS=num_heads,
            NUM_KV_HEADS=num_kv_heads,
            HEAD_DIM=head_dim,
            HALF=max(16, triton.next_power_of_2(head_dim // 2)),
            BLOCK_M=block_t,
            BLOCK_K=BLOCK_K,
            HAS_BIAS=qkv_bias is not None,
            HAS_NORM=q_norm_weight is not None,
        )
    return _split(out, num_heads, num_kv_heads, head_dim)


def _of_many(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cos_sin: Tensor,
    positions: Tensor,
    norms: tuple[Tensor | None, Tensor | None],
    out: Tensor,
    num_heads: int,
    num_kv_heads: int,
    eps: float,
) -> None:
    head_dim = cos_sin.shape[1]
    cut = pinned.cut(many.cut_name("qkv_rope", *out.shape))
    if num_heads % cut["HEADS_PER_TILE"] or num_kv_heads % cut["HEADS_PER_TILE"]:
        cut["HEADS_PER_TILE"] = 1
    block_t, block_n, block_k = cut["BLOCK_M"], cut["HEADS_PER_TILE"] * head_dim, cut["BLOCK_K"]
    _qkv_rope_of_many[many.persistent_grid(*out.shape, block_t, block_n, cut.pop("CTAS_PER_SM"))](
        many.tensor_descriptor(x, block_t, block_k),
        many.tensor_descriptor(weight, block_n, block_k),
        bias,
        cos_sin,
        positions,
        *norms,
        many.tensor_descriptor(out, block_t, head_dim),
        *out.shape,
        x.shape[1],
        cos_sin.shape[0],
        eps,
        Q_WIDTH=num_heads * head_dim,
        QK_WIDTH=(num_heads + num_kv_heads) * head_dim,
        HEAD_DIM=head_dim,
        HAS_BIAS=bias is not None,
        HAS_NORM=norms[0] is not None,
        **cut,
    )


def _split(x: Tensor, num_heads: int, num_kv_heads: int, head_dim: int) -> tuple[Tensor, ...]:
    return x.unflatten(1, (num_heads + 2 * num_kv_heads, head_dim)).split(
        [num_heads, num_kv_heads, num_kv_heads], dim=1
    )


OP = Op(
    call=qkv_rope,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"q": "qkv_weight", "k": "qkv_weight", "v": "qkv_weight"}, casts=("x to the weight's dtype",)
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
