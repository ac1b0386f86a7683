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


def _rows_in_range(positions: Tensor, cos_sin: Tensor, k_cache: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose position lies in table and cache, and these positions; the others give NaN and write nothing."""
    inside = (positions >= 0) & (positions < min(len(cos_sin), k_cache.shape[1]))
    return inside.nonzero().flatten(), positions[inside].long()


def _by_slot(q: Tensor, rows: Tensor, slots: Tensor, kv_heads: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each slot the rows whose new token is there: rows[N], q[N,Hkv,1,G,D], mask[1,S] of the keys that they see."""
    grouped = q.unflatten(1, (kv_heads, q.shape[1] // kv_heads))
    for slot in slots.unique().tolist():
        same = rows[slots == slot]
        yield same, grouped[same][:, :, None], torch.ones(1, slot + 1, dtype=torch.bool, device=q.device)


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
    dtype, (rows, slots) = k_cache.dtype, _rows_in_range(positions, cos_sin, k_cache)
    rotated = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions, dtype).to(dtype)
    new_k = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions, dtype)
    k_cache[rows, slots], v_cache[rows, slots] = new_k.to(dtype)[rows], v.to(dtype)[rows]
    out = q.new_full(q.shape, torch.nan, dtype=dtype)
    for same, query, mask in _by_slot(rotated, rows, slots, k.shape[1]):
        keys, values = (cache[same, : mask.shape[1]].transpose(1, 2) for cache in (k_cache, v_cache))
        out[same] = attention.attend(query, keys, values, scale, mask).flatten(1, 3)
    return out


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
    dtype, (rows, slots) = k_cache.dtype, _rows_in_range(positions, cos_sin, k_cache)
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
    out, query_error = torch.zeros_like(query), query_error + unit * query.abs()
    groups, error_groups = (_by_slot(part, rows, slots, k.shape[1]) for part in (query, query_error))
    for (same, q_group, mask), (_, q_group_error, _) in zip(groups, error_groups, strict=True):
        caches = keys, values, keys_error, values_error
        operands = [cache[same, : mask.shape[1]].transpose(1, 2) for cache in caches]
        arguments = q_group, *operands[:2], scale, mask, dtype, q_group_error, *operands[2:]
        out[same] = attention.attend_bound(*arguments).flatten(1, 3)
    return out, written_k, written_v


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * (case["Hq"] + case["Hkv"]))
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))
