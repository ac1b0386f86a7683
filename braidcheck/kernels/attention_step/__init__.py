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
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common.inputs import (
    EPS,
    K_NORM_MAX,
    Numbers,
    with_ones,
    without,
    without_last,
    without_rotation,
)
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import attention, rope, rounding
from braidcheck.op import Case, Contract, Cost, Op

LONG = 4096  # slots of a cache from which bandwidth counts more than what a split costs
LOG2E = 1.4426950408889634


@triton.jit
def _attention_step(
    q_ptr, k_ptr, v_ptr, q_norm_ptr, k_norm_ptr, cos_sin_ptr, positions_ptr, k_cache_ptr, v_cache_ptr, out_ptr,
    part_ptr, top_ptr, total_ptr, arrivals_ptr, capacity, max_positions, eps, scale_log2, q_stride, k_stride, v_stride,
    k_batch_stride, v_batch_stride, NUM_KV_HEADS: tl.constexpr, GROUP: tl.constexpr, BLOCK_G: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
    LEAST: tl.constexpr, SPLITS: tl.constexpr, TOGETHER: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    overlap.begin(OVERLAP)  # not after the loads, which wait for the position
    kv_head = tl.program_id(0)
    split = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    position = tl.load(positions_ptr + row).to(tl.int64)
    known = (position >= 0) & (position < tl.minimum(capacity, max_positions))
    past = tl.where(known, position, 0).to(tl.int32)
    share = tl.cdiv(tl.cdiv(past, tl.num_programs(1)), BLOCK_S) * BLOCK_S
    per_split = tl.maximum(share, LEAST)
    live = tl.maximum(tl.cdiv(past, per_split), 1)
    first = split * per_split
    end = tl.minimum(past, first + per_split)
    lanes = tl.arange(0, BLOCK_S)
    dims = tl.arange(0, BLOCK_D)
    dim_mask = dims < HEAD_DIM
    k_cache_ptr += row * k_batch_stride + kv_head * HEAD_DIM
    v_cache_ptr += row * v_batch_stride + kv_head * HEAD_DIM
    # What the cache holds was written in earlier steps, so that it may be read before the kernel ahead has ended.
    k, v = _load(k_cache_ptr, v_cache_ptr, first + lanes, end, dims, dim_mask, NUM_KV_HEADS * HEAD_DIM)
    heads = tl.arange(0, BLOCK_R)  # a group's queries and, as one row more, the new key
    is_key = heads == GROUP
    mask = (heads <= GROUP)[:, None] & dim_mask[None, :]
    half: tl.constexpr = HEAD_DIM // 2
    other = tl.where(dims < half, dims + half, dims - half)  # the dimension that each is rotated with
    angle = cos_sin_ptr + tl.where(known, position, 0) * HEAD_DIM + dims % half
    cos = tl.load(angle, mask=known & dim_mask, other=float("nan"))
    sin = tl.load(angle + half, mask=known & dim_mask, other=float("nan"))
    weight = _either(is_key, k_norm_ptr, q_norm_ptr, dims, dim_mask, dim_mask[None, :]) * cos[None, :]
    other_weight = _either(is_key, k_norm_ptr, q_norm_ptr, other, dim_mask, dim_mask[None, :])
    other_weight *= tl.where(dims < half, -sin, sin)[None, :]
    overlap.wait(OVERLAP)
    if split >= live:
        return
    k_ptr += row * k_stride + kv_head * HEAD_DIM
    q_ptr += row * q_stride + (kv_head * GROUP + heads)[:, None] * HEAD_DIM
    x = _either(is_key, k_ptr, q_ptr, dims, dim_mask, mask & ~is_key[:, None])
    y = _either(is_key, k_ptr, q_ptr, other, dim_mask, mask & ~is_key[:, None])
    new_v = tl.load(v_ptr + row * v_stride + kv_head * HEAD_DIM + dims, mask=dim_mask, other=0.0).to(v.dtype)
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / HEAD_DIM + eps)
    turned = tl.where(mask, (x * weight + y * other_weight) * inverse[:, None], 0.0)
    new_k = tl.sum(tl.where(is_key[:, None], turned, 0.0), axis=0).to(k.dtype)
    q = tl.where(is_key[:, None], 0.0, turned).to(k.dtype)
    owner = split == live - 1
    if owner:
        slot = past * NUM_KV_HEADS * HEAD_DIM + dims
        tl.store(k_cache_ptr + slot, new_k, mask=dim_mask & known)
        tl.store(v_cache_ptr + slot, new_v, mask=dim_mask & known)
    # The new token is what the softmax of its split starts from.
    score = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], axis=1) * scale_log2
    # A tensor core wants 16 rows: each query is there as often as it takes.
    repeat: tl.constexpr = BLOCK_G // BLOCK_R
    q = tl.reshape(tl.broadcast_to(q[:, None, :], [BLOCK_R, repeat, BLOCK_D]), [BLOCK_G, BLOCK_D])
    score = tl.reshape(tl.broadcast_to(score[:, None], [BLOCK_R, repeat]), [BLOCK_G])
    top = tl.where(owner, score, float("-inf"))
    total = tl.where(owner, tl.full([BLOCK_G], 1.0, dtype=tl.float32), 0.0)
    acc = tl.where(owner, tl.zeros([BLOCK_G, 1], dtype=tl.float32) + new_v.to(tl.float32)[None, :], 0.0)
    top, total, acc = _attend(q, k, v, first + lanes < end, top, total, acc, scale_log2)
    for start in range(first + BLOCK_S, end, BLOCK_S):
        k, v = _load(k_cache_ptr, v_cache_ptr, start + lanes, end, dims, dim_mask, NUM_KV_HEADS * HEAD_DIM)
        top, total, acc = _attend(q, k, v, start + lanes < end, top, total, acc, scale_log2)
    head = row * NUM_KV_HEADS * GROUP + kv_head * GROUP
    rows = tl.arange(0, BLOCK_G)
    heads = rows // repeat
    is_query = (heads < GROUP) & (rows % repeat == 0)
    q_mask = is_query[:, None] & dim_mask[None, :]
    if live == 1:
        out = tl.where(known, acc / total[:, None], float("nan")).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + (head + heads)[:, None] * HEAD_DIM + dims[None, :], out, mask=q_mask)
        return
    part = (head + heads) * tl.num_programs(1) + split
    tl.store(part_ptr + part[:, None] * HEAD_DIM + dims[None, :], acc, mask=q_mask)
    tl.store(top_ptr + part, top, mask=is_query)
    tl.store(total_ptr + part, total, mask=is_query)
    tl.debug_barrier()  # all threads' parts are written before one of them says so
    arrivals_ptr += row * NUM_KV_HEADS + kv_head
    if tl.atomic_add(arrivals_ptr, 1, sem="acq_rel") == live - 1:
        tl.store(arrivals_ptr, 0)
        _put_together(
            part_ptr, top_ptr, total_ptr, out_ptr, head, live, dims, dim_mask, GROUP, BLOCK_H, HEAD_DIM, BLOCK_D,
            SPLITS, TOGETHER,
        )  # fmt: skip


@triton.jit
def _either(is_key, k_ptr, q_ptr, dims, dim_mask, q_mask):
    """The key's row where ``is_key`` and the queries' elsewhere, float32 [heads, dims]; what is masked is 0."""
    k = tl.load(k_ptr + dims, mask=dim_mask, other=0.0).to(tl.float32)
    q = tl.load(q_ptr + dims[None, :], mask=q_mask, other=0.0).to(tl.float32)
    return tl.where(is_key[:, None], k[None, :], q)


@triton.jit
def _load(k_ptr, v_ptr, slots, end, dims, dim_mask, STRIDE: tl.constexpr):
    """K[dims, slots] and V[slots, dims]; slots from ``end`` on may hold anything, NaN included."""
    there = slots < end
    k_mask, v_mask = dim_mask[:, None] & there[None, :], there[:, None] & dim_mask[None, :]
    k = tl.load(k_ptr + slots[None, :] * STRIDE + dims[:, None], mask=k_mask, other=0.0)
    v = tl.load(v_ptr + slots[:, None] * STRIDE + dims[None, :], mask=v_mask, other=0.0)
    return k, v


@triton.jit
def _attend(q, k, v, there, top, total, acc, scale_log2):
    """Take a block of slots into a running softmax: its top score, its sum, its weighted values."""
    s = tl.where(there[None, :], tl.dot(q, k, input_precision="ieee") * scale_log2, float("-inf"))
    new_top = tl.maximum(top, tl.max(s, axis=1))
    safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)  # of a row that has no past
    p = tl.exp2(s - safe_top[:, None])
    shrink = tl.exp2(top - safe_top)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return new_top, total * shrink + tl.sum(p, axis=1), acc


@triton.jit
def _put_together(
    part_ptr, top_ptr, total_ptr, out_ptr, head, live, dims, dim_mask, GROUP: tl.constexpr, BLOCK_H: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, SPLITS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """Weigh the parts of some heads by their shares of the softmax; other programs wrote them, past the L1 cache."""
    group = tl.arange(0, BLOCK_H)
    part = (head + group)[:, None] * tl.num_programs(1)
    is_head = (group < GROUP)[:, None]
    every = tl.arange(0, SPLITS)[None, :]
    tops = tl.load(top_ptr + part + every, mask=is_head & (every < live), other=float("-inf"), cache_modifier=".cg")
    top = tl.max(tops, axis=1)
    top = tl.where(top == float("-inf"), 0.0, top)[:, None]
    total = tl.zeros([BLOCK_H], dtype=tl.float32)
    acc = tl.zeros([BLOCK_H, BLOCK_D], dtype=tl.float32)
    for start in range(0, live, TOGETHER):
        some = start + tl.arange(0, TOGETHER)[None, :]
        there = is_head & (some < live)
        at = part_ptr + (part + some)[:, :, None] * HEAD_DIM + dims[None, None, :]
        parts = tl.load(at, mask=there[:, :, None] & dim_mask[None, None, :], other=0.0, cache_modifier=".cg")
        weights = tl.load(top_ptr + part + some, mask=there, other=float("-inf"), cache_modifier=".cg")
        weights = tl.exp2(weights - top)
        totals = tl.load(total_ptr + part + some, mask=there, other=0.0, cache_modifier=".cg")
        total += tl.sum(totals * weights, axis=1)
        acc += tl.sum(parts * weights[:, :, None], axis=1)
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    out_at = out_ptr + (head + group)[:, None] * HEAD_DIM + dims[None, :]
    tl.store(out_at, out.to(out_ptr.dtype.element_ty), mask=is_head & dim_mask[None, :])


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


def _seen(q, positions, kv_heads):
    """Of each row and KV head: the row, the head, its queries [1,G,D], and a mask [1,S] of the slots it sees."""
    grouped = q.unflatten(1, (kv_heads, q.shape[1] // kv_heads))
    for row, position in enumerate(positions.tolist()):
        mask = torch.ones(1, position + 1, dtype=torch.bool, device=q.device)
        for head in range(kv_heads):
            yield row, head, grouped[row, head][None], mask


def reference(
    q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale, arrivals=None
):  # fmt: skip
    """Norm, rotate, write, attend."""
    dtype, rows = k_cache.dtype, torch.arange(len(q), device=q.device)
    turned = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions).to(dtype)
    new_k = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions)
    k_cache[rows, positions], v_cache[rows, positions] = new_k.to(dtype), v.to(dtype)
    out = torch.empty(q.shape, dtype=dtype, device=q.device).unflatten(1, (k.shape[1], -1))
    for row, head, query, mask in _seen(turned, positions, k.shape[1]):
        count = mask.shape[1]
        out[row, head] = attention.attend(query, k_cache[row, :count, head], v_cache[row, :count, head], scale, mask)[0]
    return out.flatten(1, 2)


def bound(
    q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale, arrivals=None
):  # fmt: skip
    """See the module's derivation. Gives the errors of out, of k_cache and of v_cache."""
    dtype, rows = k_cache.dtype, torch.arange(len(q), device=q.device)
    unit = rounding.ROUNDOFF[dtype]

    def turned(x, weight):
        normed = rope.normed_error(x.double(), torch.zeros_like(x, dtype=torch.float64), weight, eps)
        return rope.rotate(normed[0], cos_sin.double(), positions), rope.rotated_error(*normed, cos_sin, positions)

    (query, query_error), (key, key_error) = turned(q, q_norm_weight), turned(k, k_norm_weight)
    errors = []
    for cache, new, error in ((k_cache, key, key_error), (v_cache, v.double(), torch.zeros_like(key_error))):
        full, full_error = cache.double(), torch.zeros_like(cache, dtype=torch.float64)
        full[rows, positions], full_error[rows, positions] = new, error
        rounded = torch.zeros_like(full_error)
        rounded[rows, positions] = unit * new.abs()
        errors.append((full, full_error, full_error + rounded))
    (keys, written_k, keys_error), (values, written_v, values_error) = errors
    out = torch.empty_like(query).unflatten(1, (k.shape[1], -1))
    query_error = (query_error + unit * query.abs()).unflatten(1, (k.shape[1], -1))
    for row, head, one, mask in _seen(query, positions, k.shape[1]):
        at = row, slice(mask.shape[1]), head
        out[row, head] = attention.attend_bound(
            one, keys[at], values[at], scale, mask, dtype, query_error[row, head][None], keys_error[at],
            values_error[at],
        )[0]  # fmt: skip
    return out.flatten(1, 2), written_k, written_v


def inputs(case: Case, device: str) -> dict:
    """Q, K and V as projected, ragged pasts, one row at the capacity; slots that are not filled hold NaN."""
    numbers = Numbers(case, device)
    batch, capacity, heads, kv_heads, dim = (case[name] for name in ("B", "S", "Hq", "Hkv", "D"))
    projected = torch.float32 if case.get("wide") else None
    positions = torch.randint(0, capacity, (batch,), generator=numbers.generator)
    if batch:
        positions[-1] = capacity - 1
    k_norm = numbers.norm_weight(dim, peak=K_NORM_MAX)
    q, new_k = (numbers.activations(batch, count, dim, dtype=projected) for count in (heads, kv_heads))
    new_v = numbers.normal(batch, kv_heads, dim)
    k = numbers.normal(batch, capacity, kv_heads, dim) * k_norm.float().cpu()  # as norm and RoPE would leave it
    v = numbers.normal(batch, capacity, kv_heads, dim)
    if case.profile == "cancel":
        signs = (1 - 2 * (torch.arange(capacity) % 2))[:, None, None]
        k, v = 0.05 * k, v.abs() * signs * 100
    if case.profile == "extreme":
        v, new_v = 100 * v, 100 * new_v
    unwritten = torch.arange(capacity)[None, :] >= positions[:, None]
    k[unwritten], v[unwritten] = float("nan"), float("nan")
    return {
        "q": q,
        "k": new_k,
        "v": numbers.place(new_v, projected),
        "q_norm_weight": numbers.norm_weight(dim, peak=0.3),
        "k_norm_weight": k_norm,
        "cos_sin": rope.rope_table(max(capacity, 64), dim, device=device),
        "positions": positions.to(device),
        "k_cache": numbers.place(k),
        "v_cache": numbers.place(v),
        "eps": EPS,
        "scale": dim**-0.5,
    }


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * (case["Hq"] + case["Hkv"]))
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))


def _case(batch, capacity, shape, profile="unit", dtype="bfloat16", wide=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"B": batch, "S": capacity, "Hq": heads, "Hkv": kv_heads, "D": dim} | ({"wide": 1} if wide else {})
    return Case("attention_step", axes, dtype, profile, large=large)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 1, NANO),
    _case(1, 700, NANO, "qwen", wide=1),
    _case(3, 300, NANO, "qwen", "float16"),
    _case(3, 300, NANO, "qwen", "float32"),
    _case(4, 1300, NANO, "qwen"),
    _case(2, 130, QWEN, "qwen", wide=1),
    _case(3, 67, (3, 1, 80), "tail"),
    _case(3, 67, (5, 5, 32), "tail", "float16", wide=1),
    _case(2, 67, (8, 1, 16), "tail", "float32"),
    _case(2, 300, NANO, "tiny"),
    _case(2, 300, NANO, "tiny", "float32"),
    _case(2, 300, NANO, "extreme"),
    _case(2, 1200, NANO, "cancel"),
    _case(2, 1200, NANO, "cancel", "float32"),
    _case(1, 32768, QWEN, "qwen", wide=1, large=True),
    _case(1, 40960, QWEN, "cancel", large=True),
    _case(16, 4096, QWEN, "qwen", wide=1, large=True),
)

OP = Op(
    call=attention_step,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs={"out": "k_cache", "k_cache": "k_cache", "v_cache": "v_cache"},
        casts=("q after RoPE to the cache's dtype", "P to v's dtype"),
        mutates=("k_cache", "v_cache"),
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without rotation": without_rotation,
        "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
        "without eps": without("eps", 0.0),
        "without scale": without("scale", 1.0),
        "without the last dimension": without_last("k"),
        "without the last value dimension": without_last("v"),
        "heads dealt in turn": lambda given: given | {name: given[name].flip(2) for name in ("k_cache", "v_cache")},
    },
)
