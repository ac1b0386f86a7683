"""Causal grouped-query attention of many queries over contiguous K and V, with the softmax in float32.

The bound is derived in ``_attention``: score error, P rounded to v's dtype, P.V in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels import _attention as attention
from braidcheck.kernels._device import INTERPRETED, require, require_rows, require_same_device, token_block
from braidcheck.kernels._inputs import K_NORM_MAX, Numbers, without, without_last
from braidcheck.spec import Case, Contract, Cost, Op

BLOCK_S = 256 if INTERPRETED else 64
LOG2E = 1.4426950408889634


@triton.jit
def _attention_prefill(
    q_ptr, k_ptr, v_ptr, starts_ptr, out_ptr, num_tokens, q_start, scale_log2, q_stride, k_stride, v_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_S: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, BLOCK_D)
    dim_mask = dims < HEAD_DIM
    row_mask = rows < num_tokens
    q_mask = row_mask[:, None] & dim_mask[None, :]
    q = tl.load(q_ptr + rows[:, None] * q_stride + head * HEAD_DIM + dims[None, :], mask=q_mask, other=0.0)
    # Row i sees keys first_i <= j <= q_start + i; packed sequences differ in where they start.
    last = q_start + rows
    first = tl.zeros([BLOCK_T], dtype=tl.int64)
    begin = 0
    if PACKED:
        first = tl.load(starts_ptr + rows, mask=row_mask, other=num_tokens)
        begin = tl.min(first, axis=0).to(tl.int32) // BLOCK_S * BLOCK_S
    end = q_start + tl.minimum(num_tokens, tl.program_id(0) * BLOCK_T + BLOCK_T)  # keys past it may hold anything
    kv_head = (head // GROUP) * HEAD_DIM
    top = tl.full([BLOCK_T], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_T], dtype=tl.float32)
    acc = tl.zeros([BLOCK_T, BLOCK_D], dtype=tl.float32)
    for start in range(begin, end, BLOCK_S):
        keys = (start + tl.arange(0, BLOCK_S)).to(tl.int64)
        key_mask = keys < end
        k = tl.load(
            k_ptr + keys[None, :] * k_stride + kv_head + dims[:, None],
            mask=key_mask[None, :] & dim_mask[:, None],
            other=0.0,
        )
        s = tl.dot(q, k, input_precision="ieee") * scale_log2
        seen = (keys[None, :] <= last[:, None]) & (keys[None, :] >= first[:, None]) & key_mask[None, :]
        s = tl.where(seen, s, float("-inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that has seen no key yet
        p = tl.exp2(s - safe_top[:, None])
        shrink = tl.exp2(top - safe_top)
        total = total * shrink + tl.sum(p, axis=1)
        v = tl.load(
            v_ptr + keys[:, None] * v_stride + kv_head + dims[None, :],
            mask=key_mask[:, None] & dim_mask[None, :],
            other=0.0,
        )
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = new_top
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    out_offsets = rows[:, None] * (tl.num_programs(1) * HEAD_DIM) + head * HEAD_DIM + dims[None, :]
    tl.store(out_ptr + out_offsets, out.to(out_ptr.dtype.element_ty), mask=q_mask)


def attention_prefill(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Causal attention; query i sits at position ``q_start + i`` and sees keys up to its own position.

    q[T,Hq,D]; k, v [S,Hkv,D] with S >= q_start + T, Hq a multiple of Hkv; ``cu_seqlens`` [B+1] int32 or int64 packs B
    sequences into the T = S rows (then q_start is 0). Keys past a query's position are never read, so they may hold
    anything. Returns out[T,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k.dim() == 3 and k.shape == v.shape, "q must be [T,Hq,D], k and v [S,Hkv,D] alike")
    require(q.shape[2] == k.shape[2] and q.shape[1] % k.shape[1] == 0, "Hq must be a multiple of Hkv, D the same")
    require(q.dtype == k.dtype == v.dtype, f"q, k, v must have one dtype, are {q.dtype}, {k.dtype}, {v.dtype}")
    require(
        k.shape[0] >= q_start + q.shape[0], f"{q.shape[0]} queries from {q_start} need as many keys, got {k.shape[0]}"
    )
    require(cu_seqlens is None or (q_start == 0 and q.shape[0] == k.shape[0]), "cu_seqlens needs q_start 0 and T = S")
    for name, tensor in {"q": q, "k": k, "v": v}.items():
        require(tensor.stride()[1:] == (tensor.shape[2], 1), f"the heads of {name} must be contiguous")
    require_rows(cu_seqlens=cu_seqlens)
    require_same_device(q=q, k=k, v=v, cu_seqlens=cu_seqlens)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    starts = None if cu_seqlens is None else _sequence_starts(cu_seqlens, q.shape[0])
    if out.numel():
        block_t = token_block(q.shape[0])
        grid = triton.cdiv(q.shape[0], block_t), q.shape[1]
        _attention_prefill[grid](
            q, k, v, starts, out, q.shape[0], q_start, scale * LOG2E, q.stride(0), k.stride(0), v.stride(0),
            GROUP=q.shape[1] // k.shape[1], HEAD_DIM=q.shape[2], BLOCK_D=max(16, triton.next_power_of_2(q.shape[2])),
            BLOCK_T=block_t, BLOCK_S=BLOCK_S, PACKED=starts is not None,
        )  # fmt: skip
    return out


def _sequence_starts(cu_seqlens: Tensor, rows: int) -> Tensor:
    """The first row of each row's sequence, int64 [rows]."""
    bounds = cu_seqlens.long()
    index = torch.searchsorted(bounds, torch.arange(rows, device=bounds.device), right=True) - 1
    return bounds[index].contiguous()


def _per_head(q, k, v, q_start, cu_seqlens, heads):
    """q, k, v and mask of each KV head in ``heads``: q[T,G,D], k[S,D], v[S,D], mask[T,S]."""
    queries = torch.arange(q.shape[0], device=q.device)[:, None]
    keys = torch.arange(k.shape[0], device=q.device)[None, :]
    mask = keys <= queries + q_start
    if cu_seqlens is not None:
        mask &= keys >= _sequence_starts(cu_seqlens, q.shape[0])[:, None]
    grouped = q.unflatten(1, (k.shape[1], q.shape[1] // k.shape[1]))
    for head in heads:
        yield grouped[:, head], k[:, head], v[:, head], mask


def reference(q, k, v, scale, q_start=0, cu_seqlens=None):
    """Masked softmax attention, head by head."""
    k, v = k[: q_start + q.shape[0]], v[: q_start + q.shape[0]]
    parts = []
    for qh, kh, vh, mask in _per_head(q, k, v, q_start, cu_seqlens, range(k.shape[1])):
        chunks = attention.row_chunks(len(qh), len(kh), qh.shape[1])
        done = [attention.attend(qh[rows], kh, vh, scale, mask[rows]) for rows in chunks]
        parts.append(torch.cat(done) if done else qh)
    return torch.cat(parts, dim=1)


def bound(q, k, v, scale, q_start=0, cu_seqlens=None):
    """See ``_attention``."""
    k, v = k[: q_start + q.shape[0]].double(), v[: q_start + q.shape[0]].double()
    out = torch.zeros(q.shape, dtype=torch.float64, device=q.device).unflatten(
        1, (k.shape[1], q.shape[1] // k.shape[1])
    )
    for head, (qh, kh, vh, mask) in enumerate(_per_head(q.double(), k, v, q_start, cu_seqlens, range(k.shape[1]))):
        for rows in attention.row_chunks(len(qh), len(kh), qh.shape[2]):
            out[rows, head] = attention.attend_bound(qh[rows], kh, vh, scale, mask[rows], q.dtype)
    return (out.flatten(1, 2),)


def inputs(case: Case, device: str) -> dict:
    """Q and K as they come out of norm and RoPE; keys past the last query hold NaN."""
    numbers = Numbers(case, device)
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    start, spare = case.get("start"), case.get("spare")
    k, v = numbers.normal(start + tokens, kv_heads, dim), numbers.normal(start + tokens, kv_heads, dim)
    q = numbers.normal(tokens, heads, dim)
    if case.profile == "qwen":
        # Norm weights: a few K channels at the real model's maximum, Q's answer them with small ones.
        channels = torch.randperm(dim, generator=numbers.generator)[: dim // 16]
        k[..., channels] *= K_NORM_MAX
        q[..., channels] *= 0.1
    if case.profile == "extreme":
        q, k, v = 8 * q, 8 * k, 100 * v
    if case.profile == "sparse":
        v *= torch.rand(v.shape, generator=numbers.generator) < 0.05
    if case.profile == "cancel":
        v = v.abs() * (1 - 2 * (torch.arange(len(v)) % 2))[:, None, None] * 100
        q *= 0.05
    empty = torch.full((spare, kv_heads, dim), float("nan"))
    given = {
        "q": numbers.place(q),
        "k": numbers.place(torch.cat([k, empty])),
        "v": numbers.place(torch.cat([v, empty])),
        "scale": dim**-0.5,
    }
    if start:
        given["q_start"] = start
    if case.get("seqs"):
        cuts = torch.randperm(tokens - 1, generator=numbers.generator)[: case["seqs"] - 1] + 1
        bounds = [0, *sorted(cuts.tolist()), tokens]
        given["cu_seqlens"] = torch.tensor(bounds, dtype=torch.int32, device=device)
    return given


def _seeing_ahead(given: dict, count: int) -> dict:
    """The inputs with every query ``count`` positions further on: what a mask that leaks lets it see."""
    keys = {name: given[name][: given.get("q_start", 0) + len(given["q"])] for name in "kv"}
    return given | keys | {"q_start": given.get("q_start", 0) + count}


def cost(case: Case) -> Cost:
    """q, k, v read and out written once; two products over the lower triangle."""
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    keys, size = case.get("start") + tokens, getattr(torch, case.dtype).itemsize
    pairs = tokens * (case.get("start") + (tokens + 1) / 2) / max(1, case.get("seqs"))
    return Cost(size * dim * (2 * tokens * heads + 2 * keys * kv_heads), int(4 * pairs * heads * dim))


def _case(tokens, shape, profile="unit", dtype="bfloat16", start=0, seqs=0, spare=0, large=False):
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "Hq": heads, "Hkv": kv_heads, "D": dim}
    axes |= {name: size for name, size in (("start", start), ("seqs", seqs), ("spare", spare)) if size}
    needs = (("q_start",) if start else ()) + (("cu_seqlens",) if seqs else ())
    return Case("attention_prefill", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, NANO),
    _case(0, NANO),
    _case(65, NANO, "qwen"),
    _case(130, NANO, "qwen", "float16"),
    _case(130, NANO, "qwen", "float32"),
    _case(300, NANO, "unit", spare=20),
    _case(300, NANO, "qwen", start=77, spare=5),
    _case(1, NANO, "qwen", start=700),
    _case(400, NANO, "qwen", seqs=5),
    _case(37, QWEN, "qwen"),
    _case(67, (3, 1, 80), "tail"),
    _case(67, (5, 5, 32), "tail", "float16", start=13),
    _case(67, (8, 1, 16), "tail", "float32"),
    _case(100, NANO, "extreme"),
    _case(100, NANO, "sparse"),
    _case(256, NANO, "cancel"),
    _case(256, NANO, "cancel", "float32"),
    _case(2048, QWEN, "qwen", large=True),
    _case(1023, QWEN, "qwen", start=3000, spare=11, large=True),
    _case(1500, QWEN, "unit", seqs=7, large=True),
    _case(64, QWEN, "qwen", start=40896, large=True),
    _case(2048, QWEN, "cancel", large=True),
)

OP = Op(
    call=attention_prefill,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"out": "q"}, casts=("P to v's dtype",)),
    bound=bound,
    cost=cost,
    spoilers={
        "without scale": without("scale", 1.0),
        "without q_start": without("q_start", 0),
        "without cu_seqlens": without("cu_seqlens"),
        "without the last key": without_last("k", 0),
        "without the last value dimension": without_last("v"),
        "heads dealt in turn": lambda given: given | {"k": given["k"].flip(1), "v": given["v"].flip(1)},
        "mask one too wide": lambda given: _seeing_ahead(given, 1),
        "without mask": lambda given: _seeing_ahead(given, len(given["q"])),
    },
)
