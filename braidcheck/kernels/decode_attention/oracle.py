"""Reference, bound and cost.

The bound: Q and K as in ``qk_norm_rope``, each rounded once to the cache's dtype (declared), V rounded once; then
attention with those errors in its operands (``numerics.attention``).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from braidcheck.numerics import attention, rope, rounding
from braidcheck.op import Case, Cost


def _served(positions: Tensor, cos_sin: Tensor, k_cache: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose position lies in table and cache, and these positions; the others give NaN and write nothing."""
    inside = (positions >= 0) & (positions < min(len(cos_sin), k_cache.shape[1]))
    return inside.nonzero().flatten(), positions[inside].long()


def _seen(q: Tensor, rows: Tensor, slots: Tensor, kv_heads: int) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Of each row and KV head: the row, the head, its queries [1,G,D], and a mask [1,S] of the slots it sees."""
    grouped = q.unflatten(1, (kv_heads, q.shape[1] // kv_heads))
    for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
        mask = torch.ones(1, slot + 1, dtype=torch.bool, device=q.device)
        for head in range(kv_heads):
            yield row, head, grouped[row, head][None], mask


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> Tensor:
    """Norm, rotate, write, attend."""
    dtype, (rows, slots) = k_cache.dtype, _served(positions, cos_sin, k_cache)
    rotated = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions).to(dtype)
    new_k = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions)
    k_cache[rows, slots], v_cache[rows, slots] = new_k.to(dtype)[rows], v.to(dtype)[rows]
    out = q.new_full(q.shape, torch.nan, dtype=dtype).unflatten(1, (k.shape[1], -1))
    for row, head, query, mask in _seen(rotated, rows, slots, k.shape[1]):
        count = mask.shape[1]
        out[row, head] = attention.attend(query, k_cache[row, :count, head], v_cache[row, :count, head], scale, mask)[0]
    return out.flatten(1, 2)


def bound(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    eps: float,
    scale: float,
    split_counter: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """See the module. Gives the errors of out, of k_cache and of v_cache."""
    dtype, (rows, slots) = k_cache.dtype, _served(positions, cos_sin, k_cache)
    unit = rounding.ROUNDOFF[dtype]

    def rotated(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        normed = rope.normed_error(x.double(), torch.zeros_like(x, dtype=torch.float64), weight, eps)
        return rope.rotate(normed[0], cos_sin.double(), positions), rope.rotated_error(*normed, cos_sin, positions)

    (query, query_error), (key, key_error) = rotated(q, q_norm_weight), rotated(k, k_norm_weight)
    errors = []
    for cache, new, error in ((k_cache, key, key_error), (v_cache, v.double(), torch.zeros_like(key_error))):
        full, full_error = cache.double(), torch.zeros_like(cache, dtype=torch.float64)
        full[rows, slots], full_error[rows, slots] = new[rows], error[rows]
        rounded = torch.zeros_like(full_error)
        rounded[rows, slots] = unit * new[rows].abs()
        errors.append((full, full_error, full_error + rounded))
    (keys, written_k, keys_error), (values, written_v, values_error) = errors
    out = torch.zeros_like(query).unflatten(1, (k.shape[1], -1))
    query_error = (query_error + unit * query.abs()).unflatten(1, (k.shape[1], -1))
    for row, head, one, mask in _seen(query, rows, slots, k.shape[1]):
        at = row, slice(mask.shape[1]), head
        out[row, head] = attention.attend_bound(
            one,
            keys[at],
            values[at],
            scale,
            mask,
            dtype,
            query_error[row, head][None],
            keys_error[at],
            values_error[at],
        )[0]
    return out.flatten(1, 2), written_k, written_v


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * (case["Hq"] + case["Hkv"]))
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))
