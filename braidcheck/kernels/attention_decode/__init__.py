"""Grouped-query attention of one query a row over its KV cache, split over the context and then combined.

The bound is ``_attention``'s; combining the splits rescales partial sums by exponentials that the score error already
covers, and adds a few roundings of the value, counted with the sum's.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.attention_decode import cases, oracle
from braidcheck.kernels.attention_decode.kernel import _attend_split, _combine
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.op import Contract, Op

BLOCK_S = 256 if INTERPRETED else 64
MAX_SPLITS = 4 if INTERPRETED else 64
LOG2E = 1.4426950408889634


def attention_decode(q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Attention of one query a row over the first ``lengths[b]`` slots of its cache.

    q[B,Hq,D]; caches [B,S,Hkv,D] of q's dtype; lengths[B] int32 or int64, the new token included; 0 gives zeros.
    Slots at and past a length are never read. The number of splits depends on S alone, so a row's result does not
    depend on its neighbours. Returns out[B,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k_cache.dim() == 4 and k_cache.shape == v_cache.shape, "q[B,Hq,D], caches [B,S,Hkv,D]")
    batch, capacity, kv_heads, dim = k_cache.shape
    require(q.shape[0] == batch and q.shape[2] == dim and q.shape[1] % kv_heads == 0, "q and the caches do not agree")
    require(q.dtype == k_cache.dtype == v_cache.dtype, "q and the caches must have one dtype")
    require(lengths.shape == (batch,), f"lengths must be [{batch}], is {tuple(lengths.shape)}")
    require(q.stride()[1:] == (dim, 1), "the heads of q must be contiguous")
    require(k_cache[:1].is_contiguous() and v_cache[:1].is_contiguous(), "each row of the caches must be contiguous")
    require_contiguous_last_dim(lengths=lengths)
    require_same_device(q=q, k_cache=k_cache, v_cache=v_cache, lengths=lengths)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if not out.numel():
        return out
    splits = min(MAX_SPLITS, triton.cdiv(capacity, 2 * BLOCK_S))
    per_split = triton.cdiv(triton.cdiv(capacity, splits), BLOCK_S) * BLOCK_S
    group, block_d = q.shape[1] // kv_heads, max(16, triton.next_power_of_2(dim))
    parts = torch.empty(batch, q.shape[1], splits, dim, dtype=torch.float32, device=q.device)
    tops, totals = torch.empty(2, batch, q.shape[1], splits, dtype=torch.float32, device=q.device)
    _attend_split[batch, kv_heads, splits](
        q, k_cache, v_cache, lengths, parts, tops, totals, capacity, per_split, scale * LOG2E, q.stride(0),
        k_cache.stride(0), v_cache.stride(0), NUM_KV_HEADS=kv_heads, GROUP=group,
        BLOCK_G=max(16, triton.next_power_of_2(group)), HEAD_DIM=dim, BLOCK_D=block_d, BLOCK_S=BLOCK_S,
    )  # fmt: skip
    _combine[(batch * q.shape[1],)](
        parts, tops, totals, out, splits, HEAD_DIM=dim, BLOCK_D=block_d, SPLITS=triton.next_power_of_2(splits)
    )
    return out


OP = Op(
    call=attention_decode,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"out": "q"}, casts=("P to v's dtype",), batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
