"""Causal grouped-query attention of many queries over contiguous K and V, with the softmax in float32.

The bound is derived in ``_attention``: score error, P rounded to v's dtype, P.V in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.inputs import K_NORM_MAX, Numbers, without, without_last
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import attention
from braidcheck.op import Case, Contract, Cost, Op

LOG2E = 1.4426950408889634
LONG = 1024 if INTERPRETED else 4096  # keys from which a program takes more queries


@triton.jit
def _attention_prefill(
    q_ptr, k_ptr, v_ptr, starts_ptr, out_ptr, num_tokens, q_start, scale_log2, q_stride, k_stride, v_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_S: tl.constexpr,
    PACKED: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    row = (tl.num_programs(1) - 1 - tl.program_id(1)) * BLOCK_T  # the longest rows first: none is left to the end
    kv_head = head // GROUP
    rows = row + tl.arange(0, BLOCK_T)
    row_mask = rows < num_tokens
    q = _heads(q_ptr, row, head, num_tokens, q_stride, HEAD_DIM, BLOCK_D, BLOCK_T, TILES)
    # Row i sees keys first_i <= j <= q_start + i; packed sequences differ in where they start.
    num_keys = q_start + num_tokens  # keys past them may hold anything
    last = q_start + rows
    first = tl.zeros([BLOCK_T], dtype=tl.int32)
    begin = 0
    whole = (q_start + row) // BLOCK_S * BLOCK_S  # the keys before it are seen by all rows
    if PACKED:
        first = tl.load(starts_ptr + rows, mask=row_mask, other=num_tokens).to(tl.int32)
        begin = tl.min(first, axis=0) // BLOCK_S * BLOCK_S
        whole = begin
    top = tl.full([BLOCK_T], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_T], dtype=tl.float32)
    acc = tl.zeros([BLOCK_T, BLOCK_D], dtype=tl.float32)
    for start in range(begin, whole, BLOCK_S):
        k = _heads(k_ptr, start, kv_head, num_keys, k_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        v = _heads(v_ptr, start, kv_head, num_keys, v_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        s = tl.dot(q, k.T, input_precision="ieee")
        acc, top, total = _attend(s, v, acc, top, total, scale_log2, PACKED)
    for start in range(whole, tl.minimum(num_keys, q_start + row + BLOCK_T), BLOCK_S):
        k = _heads(k_ptr, start, kv_head, num_keys, k_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        v = _heads(v_ptr, start, kv_head, num_keys, v_stride, HEAD_DIM, BLOCK_D, BLOCK_S, TILES)
        s = tl.dot(q, k.T, input_precision="ieee")
        keys = start + tl.arange(0, BLOCK_S)
        seen = (keys[None, :] <= last[:, None]) & (keys[None, :] >= first[:, None])
        acc, top, total = _attend(tl.where(seen, s, float("-inf")), v, acc, top, total, scale_log2, PACKED)
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    dims = tl.arange(0, BLOCK_D)
    offsets = rows.to(tl.int64)[:, None] * (tl.num_programs(0) * HEAD_DIM) + head * HEAD_DIM + dims[None, :]
    mask = row_mask[:, None] & (dims < HEAD_DIM)[None, :]
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _heads(
    source, row, head, num_rows, stride, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """One head of ROWS rows from ``row`` on, [ROWS, BLOCK_D]; zeros from ``num_rows`` on."""
    if TILES:
        block = tl.reshape(source.load([row, head, 0]), (ROWS, BLOCK_D))
    else:
        rows = (row + tl.arange(0, ROWS)).to(tl.int64)
        dims = tl.arange(0, BLOCK_D)
        mask = (rows < num_rows)[:, None] & (dims < HEAD_DIM)[None, :]
        block = tl.load(source + rows[:, None] * stride + head * HEAD_DIM + dims[None, :], mask=mask, other=0.0)
    return block


@triton.jit
def _attend(s, v, acc, top, total, scale_log2, PACKED: tl.constexpr):
    """The running softmax over one more block of scores; what a row does not see is -inf."""
    new_top = tl.maximum(top, tl.max(s, axis=1) * scale_log2)
    safe_top = new_top
    if PACKED:
        safe_top = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that has seen no key yet
    p = tl.exp2(s * scale_log2 - safe_top[:, None])
    shrink = tl.exp2(top - safe_top)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return acc, new_top, total * shrink + tl.sum(p, axis=1)


def attention_prefill(
    q: Tensor, k: Tensor, v: Tensor, scale: float, q_start: int = 0, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Causal attention; query i sits at position ``q_start + i`` and sees keys up to its own position.

    q[T,Hq,D]; k, v [S,Hkv,D] with S >= q_start + T, Hq a multiple of Hkv; scale >= 0; ``cu_seqlens`` [B+1] int32 or
    int64 packs B sequences into the T = S rows (then q_start is 0). Keys past the last query may hold anything. Returns
    out[T,Hq,D] in q's dtype. Raises ValueError for what it cannot serve.
    """
    require(q.dim() == 3 and k.dim() == 3 and k.shape == v.shape, "q must be [T,Hq,D], k and v [S,Hkv,D] alike")
    require(q.shape[2] == k.shape[2] and q.shape[1] % k.shape[1] == 0, "Hq must be a multiple of Hkv, D the same")
    require(q.dtype == k.dtype == v.dtype, f"q, k, v must have one dtype, are {q.dtype}, {k.dtype}, {v.dtype}")
    require(
        k.shape[0] >= q_start + q.shape[0], f"{q.shape[0]} queries from {q_start} need as many keys, got {k.shape[0]}"
    )
    require(scale >= 0, f"scale must be 0 or more, is {scale}")
    require(cu_seqlens is None or (q_start == 0 and q.shape[0] == k.shape[0]), "cu_seqlens needs q_start 0 and T = S")
    for name, tensor in {"q": q, "k": k, "v": v}.items():
        require(tensor.stride()[1:] == (tensor.shape[2], 1), f"the heads of {name} must be contiguous")
    require_contiguous_last_dim(cu_seqlens=cu_seqlens)
    require_same_device(q=q, k=k, v=v, cu_seqlens=cu_seqlens)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    starts = None if cu_seqlens is None else _sequence_starts(cu_seqlens, q.shape[0])
    if out.numel():
        block_d = max(16, triton.next_power_of_2(q.shape[2]))
        by_tiles = block_d == q.shape[2] and all(map(many.can_use_tma, (q, k, v)))
        k, v = k[: q_start + len(q)], v[: q_start + len(q)]
        cut = pinned.cut(cut_name(len(q), len(k), by_tiles))
        sources = q, k, v
        if by_tiles:
            rows = cut["BLOCK_T"], cut["BLOCK_S"], cut["BLOCK_S"]
            sources = [many.tensor_descriptor(x, count, 1, block_d) for x, count in zip(sources, rows, strict=True)]
        _attention_prefill[q.shape[1], triton.cdiv(len(q), cut["BLOCK_T"])](
            *sources, starts, out, len(q), q_start, scale * LOG2E, q.stride(0), k.stride(0), v.stride(0),
            GROUP=q.shape[1] // k.shape[1], HEAD_DIM=q.shape[2], BLOCK_D=block_d, PACKED=starts is not None,
            TILES=by_tiles, **cut,
        )  # fmt: skip
    return out


def cut_name(tokens: int, keys: int, by_tiles: bool) -> str:
    """What the cut for so many queries and keys is called."""
    if tokens <= 16:
        return "attention_prefill of few"
    return "attention_prefill of long" if by_tiles and keys > LONG else "attention_prefill of many"


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
