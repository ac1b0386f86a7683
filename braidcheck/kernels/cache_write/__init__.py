"""Write the new tokens' K and V into the KV cache, in place: a copy, so the bound is zero."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.inputs import Numbers, without_last
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.op import Case, Contract, Cost, Op

BLOCK_T = 256 if INTERPRETED else 1


@triton.jit
def _cache_write(
    k_ptr, v_ptr, k_cache_ptr, v_cache_ptr, rows_ptr, slots_ptr, num_tokens, batch, capacity, k_stride, v_stride,
    k_batch_stride, v_batch_stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    tokens = (tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = tokens < num_tokens
    rows = tl.load(rows_ptr + tokens, mask=mask, other=0).to(tl.int64)
    slots = tl.load(slots_ptr + tokens, mask=mask, other=0).to(tl.int64)
    # A row or slot outside the cache is not written anywhere: memory beside the cache stays whole.
    mask = (mask & (rows >= 0) & (rows < batch) & (slots >= 0) & (slots < capacity))[:, None] & (columns < WIDTH)[
        None, :
    ]
    k = tl.load(k_ptr + tokens[:, None] * k_stride + columns[None, :], mask=mask)
    v = tl.load(v_ptr + tokens[:, None] * v_stride + columns[None, :], mask=mask)
    place = slots[:, None] * WIDTH + columns[None, :]
    tl.store(k_cache_ptr + rows[:, None] * k_batch_stride + place, k, mask=mask)
    tl.store(v_cache_ptr + rows[:, None] * v_batch_stride + place, v, mask=mask)


def cache_write(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """Copy k[t], v[t] to ``k_cache[rows[t], slots[t]]``, ``v_cache[rows[t], slots[t]]``, in place.

    k, v [T,Hkv,D]; caches [B,S,Hkv,D] of the same dtype; rows, slots [T] int32 or int64, each pair at most once.
    Pairs outside the cache are not written. Raises ValueError for shapes, strides or dtypes it cannot serve.
    """
    require(k.dim() == 3 and v.shape == k.shape, f"k and v must be [T,Hkv,D] alike, are {k.shape} and {v.shape}")
    require(k_cache.dim() == 4 and v_cache.shape == k_cache.shape, "the caches must be [B,S,Hkv,D] alike")
    require(
        k_cache.shape[2:] == k.shape[1:], f"cache heads {tuple(k_cache.shape[2:])} are not k's {tuple(k.shape[1:])}"
    )
    require(k.dtype == v.dtype == k_cache.dtype == v_cache.dtype, "k, v and the caches must have one dtype")
    require(rows.shape == slots.shape == k.shape[:1], f"rows and slots must be [{k.shape[0]}]")
    heads_strides = k.shape[2], 1
    require(k.stride()[1:] == heads_strides and v.stride()[1:] == heads_strides, "heads of k and v must be contiguous")
    require(k_cache[0].is_contiguous() and v_cache[0].is_contiguous(), "each row of the caches must be contiguous")
    require_contiguous_last_dim(rows=rows, slots=slots)
    require_same_device(k=k, v=v, k_cache=k_cache, v_cache=v_cache, rows=rows, slots=slots)
    width = k.shape[1] * k.shape[2]
    if k.shape[0]:
        _cache_write[(triton.cdiv(k.shape[0], BLOCK_T),)](
            k, v, k_cache, v_cache, rows, slots, k.shape[0], *k_cache.shape[:2], k.stride(0), v.stride(0),
            k_cache.stride(0), v_cache.stride(0), WIDTH=width, BLOCK=triton.next_power_of_2(width), BLOCK_T=BLOCK_T,
        )  # fmt: skip


def reference(k, v, k_cache, v_cache, rows, slots):
    """Indexed assignment."""
    k_cache[rows.long(), slots.long()] = k
    v_cache[rows.long(), slots.long()] = v


def bound(k, v, k_cache, v_cache, rows, slots):
    """A copy: no error at all."""
    return torch.zeros_like(k_cache, dtype=torch.float64), torch.zeros_like(v_cache, dtype=torch.float64)


def inputs(case: Case, device: str) -> dict:
    """Caches full of NaN, and tokens for distinct slots in no order."""
    numbers = Numbers(case, device)
    tokens, batch, capacity = case["T"], case["B"], case["S"]
    shape = tokens, case["Hkv"], case["D"]
    last = batch * capacity - 1  # the last slot of the last row is always among them
    others = torch.randperm(last, generator=numbers.generator)
    places = torch.cat([torch.tensor([last]), others])[:tokens]
    empty = torch.full((batch, capacity, case["Hkv"], case["D"]), float("nan"))
    return {
        "k": numbers.activations(*shape),
        "v": numbers.activations(*shape),
        "k_cache": numbers.place(empty),
        "v_cache": numbers.place(empty),
        "rows": (places // capacity).to(device),
        "slots": (places % capacity).to(device),
    }


def cost(case: Case) -> Cost:
    """K and V read and written."""
    return Cost(4 * case["T"] * case["Hkv"] * case["D"] * getattr(torch, case.dtype).itemsize, 0)


def _case(tokens, batch, capacity, heads, dim, profile="unit", dtype="bfloat16", large=False):
    axes = {"T": tokens, "B": batch, "S": capacity, "Hkv": heads, "D": dim}
    return Case("cache_write", axes, dtype, profile, large=large)


CASES = (
    _case(1, 1, 16, 2, 64),
    _case(0, 1, 16, 2, 64),
    _case(65, 3, 50, 2, 64, "qwen"),
    _case(7, 4, 33, 3, 80, "tail", "float16"),
    _case(7, 4, 33, 8, 128, "extreme", "float32"),
    _case(4096, 2, 4096, 8, 128, "qwen", large=True),
    _case(64, 64, 2048, 8, 128, "unit", large=True),
)

OP = Op(
    call=cache_write,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(
        outputs={"k_cache": "k_cache", "v_cache": "v_cache"}, batch_invariant=True, mutates=("k_cache", "v_cache")
    ),
    bound=bound,
    cost=cost,
    spoilers={
        "without V": lambda given: given | {"v": given["k"]},
        "every token one slot early": lambda given: given | {"slots": given["slots"] - 1},
        "every token in row 0": lambda given: given | {"rows": torch.zeros_like(given["rows"])},
        "without the last token": without_last("k", 0),
    },
)
