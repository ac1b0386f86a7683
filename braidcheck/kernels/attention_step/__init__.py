"""One decode step of attention: head norm, RoPE, the new token's K and V into the cache, attention over the row.

A row's past is cut into splits by the row's own length, and finer where it is the only one: several rows fill the GPU
anyhow, and their results do not depend on each other. The split that holds the end takes the new token too and writes
it. The last split to end puts them together, in their order.

Bound: Q and K as in ``qk_norm_rope``, each rounded once to the cache's dtype (declared), V rounded once; then
attention with those errors in its operands (``_attention``).
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.attention_step import cases, oracle
from braidcheck.kernels.attention_step.kernel import _attention_step
from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.op import Contract, Op

LONG = 4096  # slots of a cache from which bandwidth counts more than what a split costs
LOG2E = 1.4426950408889634


def cut_name(batch: int, capacity: int) -> str:
    """The cut that is taken for so many rows of a cache of so many slots."""
    return f"attention_step of {'long' if capacity > LONG else 'one' if batch == 1 else 'several'}"


def attention_step(
    q: Tensor, k: Tensor, v: Tensor, q_norm_weight: Tensor, k_norm_weight: Tensor, cos_sin: Tensor, positions: Tensor,
    k_cache: Tensor, v_cache: Tensor, eps: float, scale: float, arrivals: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Attention of one new token a row over its cache, itself included, whose K and V are written to its slot.

    q[B,Hq,D], k[B,Hkv,D], v[B,Hkv,D] as projected, of one dtype; norm weights [D]; cos_sin[P,D] float32, cosines first;
    positions[B] int32 or int64, the slot of each row's new token: all slots before it are filled. Caches [B,S,Hkv,D].
    ``arrivals`` int32 [B,Hkv], all zero, is left so; without it one is made. Returns out[B,Hq,D] in the caches' dtype.
    A position outside cache or table gives NaN and writes nothing. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == k.dim() == 3 and k.shape == v.shape, "q[B,Hq,D], k[B,Hkv,D] and v[B,Hkv,D] must agree")
    require(k_cache.dim() == 4 and k_cache.shape == v_cache.shape, "caches must be [B,S,Hkv,D]")
    batch, capacity, kv_heads, dim = k_cache.shape
    require(k.shape == (batch, kv_heads, dim) and q.shape[::2] == (batch, dim), "q, k and the caches do not agree")
    require(q.shape[1] % kv_heads == 0 and dim % 2 == 0, "Hq % Hkv and D % 2 must be 0")
    require(q.dtype == k.dtype == v.dtype and k_cache.dtype == v_cache.dtype, "q, k, v need one dtype, the caches one")
    require(q_norm_weight.shape == k_norm_weight.shape == (dim,), f"norm weights must be [{dim}]")
    require(cos_sin.dim() == 2 and cos_sin.shape[1] == dim, f"cos_sin must be [max_positions,{dim}]")
    require(cos_sin.dtype == torch.float32 and cos_sin.is_contiguous(), "cos_sin must be contiguous float32")
    require(positions.shape == (batch,) and positions.is_contiguous(), f"positions must be [{batch}]")
    require(all(x.stride()[1:] == (dim, 1) for x in (q, k, v)), "the heads of q, k and v must be contiguous")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require(k_cache[:1].numel() < 2**31, "a row of a cache must have fewer than 2**31 numbers")
    require_contiguous_last_dim(q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight)
    require_same_device(q=q, k_cache=k_cache, v_cache=v_cache, cos_sin=cos_sin, positions=positions)
    if arrivals is None:
        arrivals = torch.zeros(batch, kv_heads, dtype=torch.int32, device=q.device)
    require(
        arrivals.shape == (batch, kv_heads) and arrivals.dtype == torch.int32, f"arrivals int32 [{batch},{kv_heads}]"
    )
    out = torch.empty(q.shape, dtype=k_cache.dtype, device=q.device)
    if not out.numel() or not capacity:
        return out.fill_(torch.nan)
    cut = pinned.cut(cut_name(batch, capacity))
    splits = min(cut.pop("MOST_SPLITS"), triton.cdiv(capacity, cut["LEAST"]))
    parts = torch.empty(batch, q.shape[1], splits, dim, dtype=torch.float32, device=q.device)
    tops, totals = torch.empty(2, batch, q.shape[1], splits, dtype=torch.float32, device=q.device)
    group = q.shape[1] // kv_heads
    _attention_step[kv_heads, splits, batch](
        q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, out, parts, tops, totals, arrivals,
        capacity, cos_sin.shape[0], eps, scale * LOG2E, q.stride(0), k.stride(0), v.stride(0), k_cache.stride(0),
        v_cache.stride(0), NUM_KV_HEADS=kv_heads, GROUP=group, BLOCK_G=max(16, triton.next_power_of_2(group + 1)),
        BLOCK_R=triton.next_power_of_2(group + 1), BLOCK_H=triton.next_power_of_2(group), HEAD_DIM=dim,
        BLOCK_D=max(16, triton.next_power_of_2(dim)), SPLITS=triton.next_power_of_2(splits), **cut, **overlap.options(),
    )  # fmt: skip
    return out


OP = Op(
    call=attention_step,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "k_cache", "k_cache": "k_cache", "v_cache": "v_cache"},
        casts=("q after RoPE to the cache's dtype", "P to v's dtype"),
        mutates=("k_cache", "v_cache"),
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
