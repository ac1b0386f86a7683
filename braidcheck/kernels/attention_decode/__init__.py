"""Grouped-query attention of one query a row over its KV cache, split over the context and then combined.

The bound is ``_attention``'s; combining the splits rescales partial sums by exponentials that the score error already
covers, and adds a few roundings of the value, counted with the sum's.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.inputs import K_NORM_MAX, Numbers, without, without_last
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import attention
from braidcheck.op import Case, Contract, Cost, Op

BLOCK_S = 256 if INTERPRETED else 64
MAX_SPLITS = 4 if INTERPRETED else 64
LOG2E = 1.4426950408889634


@triton.jit
def _attend_split(
    q_ptr, k_ptr, v_ptr, lengths_ptr, part_ptr, top_ptr, total_ptr, capacity, per_split, scale_log2, q_stride,
    k_batch_stride, v_batch_stride, NUM_KV_HEADS: tl.constexpr, GROUP: tl.constexpr, BLOCK_G: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    group = tl.arange(0, BLOCK_G)
    dims = tl.arange(0, BLOCK_D)
    dim_mask = dims < HEAD_DIM
    q_mask = (group < GROUP)[:, None] & dim_mask[None, :]
    heads = kv_head * GROUP + group
    q = tl.load(q_ptr + row * q_stride + heads[:, None] * HEAD_DIM + dims[None, :], mask=q_mask, other=0.0)
    length = tl.minimum(tl.load(lengths_ptr + row), capacity).to(tl.int32)
    begin = split * per_split
    end = tl.minimum(length, begin + per_split)
    top = tl.full([BLOCK_G], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_G], dtype=tl.float32)
    acc = tl.zeros([BLOCK_G, BLOCK_D], dtype=tl.float32)
    for start in range(begin, end, BLOCK_S):
        keys = (start + tl.arange(0, BLOCK_S)).to(tl.int64)
        key_mask = keys < end  # slots past the length may hold anything, NaN included
        offsets = (keys * NUM_KV_HEADS + kv_head) * HEAD_DIM
        k_mask = key_mask[None, :] & dim_mask[:, None]
        k = tl.load(k_ptr + row * k_batch_stride + offsets[None, :] + dims[:, None], mask=k_mask, other=0.0)
        s = tl.where(key_mask[None, :], tl.dot(q, k, input_precision="ieee") * scale_log2, float("-inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        p = tl.exp2(s - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(p, axis=1)
        v_mask = key_mask[:, None] & dim_mask[None, :]
        v = tl.load(v_ptr + row * v_batch_stride + offsets[:, None] + dims[None, :], mask=v_mask, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    slot = (row * NUM_KV_HEADS * GROUP + heads) * tl.num_programs(2) + split
    tl.store(part_ptr + slot[:, None] * HEAD_DIM + dims[None, :], acc, mask=q_mask)
    tl.store(top_ptr + slot, top, mask=group < GROUP)
    tl.store(total_ptr + slot, total, mask=group < GROUP)


@triton.jit
def _combine(
    part_ptr, top_ptr, total_ptr, out_ptr, num_splits, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    splits = tl.arange(0, SPLITS)
    dims = tl.arange(0, BLOCK_D)
    there = splits < num_splits
    tops = tl.load(top_ptr + row * num_splits + splits, mask=there, other=float("-inf"))
    totals = tl.load(total_ptr + row * num_splits + splits, mask=there, other=0.0)
    top = tl.max(tops, axis=0)
    weights = tl.exp2(tops - tl.where(top == float("-inf"), 0.0, top))  # 0 for an empty split, also of an empty row
    mask = there[:, None] & (dims < HEAD_DIM)[None, :]
    parts = tl.load(part_ptr + (row * num_splits + splits)[:, None] * HEAD_DIM + dims[None, :], mask=mask, other=0.0)
    total = tl.sum(totals * weights, axis=0)
    out = tl.sum(parts * weights[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out_ptr + row * HEAD_DIM + dims, out.to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)


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


def _per_row(q, k_cache, v_cache, lengths):
    """q[1,G,D], k[S,D], v[S,D], mask[1,S] of each row and KV head, cut to the row's length."""
    for row, length in enumerate(lengths.tolist()):
        k, v = k_cache[row, :length], v_cache[row, :length]
        grouped = q[row].unflatten(0, (k.shape[1], q.shape[1] // k.shape[1]))
        mask = torch.ones(1, length, dtype=torch.bool, device=q.device)
        for head in range(k.shape[1]):
            yield grouped[head][None], k[:, head], v[:, head], mask


def reference(q, k_cache, v_cache, lengths, scale):
    """Softmax attention over each row's own slots; zeros where there are none."""
    parts = [attention.attend(*of_head[:3], scale, of_head[3])[0] for of_head in _per_row(q, k_cache, v_cache, lengths)]
    return torch.cat(parts).view(q.shape) if parts else q.clone()


def bound(q, k_cache, v_cache, lengths, scale):
    """See ``_attention``; a row without keys must be exactly zero."""
    rows = _per_row(q.double(), k_cache.double(), v_cache.double(), lengths)
    parts = [
        attention.attend_bound(qh, kh, vh, scale, mask, q.dtype)[0] if len(kh) else torch.zeros_like(qh[0])
        for qh, kh, vh, mask in rows
    ]
    return (torch.cat(parts).view(q.shape) if parts else q.double(),)


def inputs(case: Case, device: str) -> dict:
    """Ragged lengths, one of them full; slots past a length hold NaN."""
    numbers = Numbers(case, device)
    batch, capacity, heads, kv_heads, dim = (case[name] for name in ("B", "S", "Hq", "Hkv", "D"))
    lengths = torch.randint(0 if case.get("empty") else 1, capacity + 1, (batch,), generator=numbers.generator)
    if batch:
        lengths[-1] = capacity
    if case.get("empty"):
        lengths[0] = 0
    q, k = numbers.normal(batch, heads, dim), numbers.normal(batch, capacity, kv_heads, dim)
    v = numbers.normal(batch, capacity, kv_heads, dim)
    if case.profile == "qwen":
        channels = torch.randperm(dim, generator=numbers.generator)[: dim // 16]
        k[..., channels] *= K_NORM_MAX
        q[..., channels] *= 0.1
    if case.profile == "extreme":
        q, k, v = 8 * q, 8 * k, 100 * v
    if case.profile == "cancel":
        v = v.abs() * (1 - 2 * (torch.arange(capacity) % 2))[:, None, None] * 100
        q *= 0.05
    unwritten = torch.arange(capacity)[None, :] >= lengths[:, None]
    k[unwritten], v[unwritten] = float("nan"), float("nan")
    return {
        "q": numbers.place(q),
        "k_cache": numbers.place(k),
        "v_cache": numbers.place(v),
        "lengths": lengths.to(device),
        "scale": dim**-0.5,
    }


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * case["Hq"])
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))


def _case(batch, capacity, shape, profile="unit", dtype="bfloat16", empty=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"B": batch, "S": capacity, "Hq": heads, "Hkv": kv_heads, "D": dim} | ({"empty": 1} if empty else {})
    return Case("attention_decode", axes, dtype, profile, large=large)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 1, NANO),
    _case(1, 700, NANO, "qwen"),
    _case(3, 300, NANO, "qwen", "float16"),
    _case(3, 300, NANO, "qwen", "float32"),
    _case(4, 2100, NANO, "qwen", empty=1),
    _case(2, 130, QWEN, "qwen"),
    _case(3, 67, (3, 1, 80), "tail"),
    _case(3, 67, (5, 5, 32), "tail", "float16"),
    _case(2, 67, (8, 1, 16), "tail", "float32"),
    _case(2, 300, NANO, "extreme"),
    _case(2, 1200, NANO, "cancel"),
    _case(2, 1200, NANO, "cancel", "float32"),
    _case(1, 32768, QWEN, "qwen", large=True),
    _case(1, 40960, QWEN, "cancel", large=True),
    _case(16, 4096, QWEN, "qwen", empty=1, large=True),
)

OP = Op(
    call=attention_decode,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"out": "q"}, casts=("P to v's dtype",), batch_invariant=True),
    bound=bound,
    cost=cost,
    spoilers={
        "without scale": without("scale", 1.0),
        "without the newest key": lambda given: given | {"lengths": (given["lengths"] - 1).clamp_min(0)},
        "all rows as long as the first": lambda given: (
            given | {"lengths": given["lengths"][:1].expand_as(given["lengths"])}
        ),
        "without the last value dimension": without_last("v_cache"),
        "heads dealt in turn": lambda given: given | {name: given[name].flip(2) for name in ("k_cache", "v_cache")},
    },
)
