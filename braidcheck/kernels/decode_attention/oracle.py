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


def _of_one_slot(q: Tensor, rows: Tensor, slots: Tensor, kv_heads: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of the rows with one slot each: the rows, their queries [N,Hkv,1,G,D], and a mask [1,S] of the slots they see."""
    grouped = q.unflatten(1, (kv_heads, q.shape[1] // kv_heads))
    for slot in slots.unique().tolist():
        some = rows[slots == slot]
        yield some, grouped[some][:, :, None], torch.ones(1, slot + 1, dtype=torch.bool, device=q.device)


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
    rotated = rope.rotate(rope.head_norm(rounding.wide(q), q_norm_weight, eps), cos_sin, positions, dtype).to(dtype)
    new_k = rope.rotate(rope.head_norm(rounding.wide(k), k_norm_weight, eps), cos_sin, positions, dtype)
    k_cache[rows, slots], v_cache[rows, slots] = new_k.to(dtype)[rows], v.to(dtype)[rows]
    out = q.new_full(q.shape, torch.nan, dtype=dtype)
    for some, query, mask in _of_one_slot(rotated, rows, slots, k.shape[1]):
        keys, values = (cache[some, : mask.shape[1]].transpose(1, 2) for cache in (k_cache, v_cache))
        out[some] = attention.attend(query, keys, values, scale, mask).flatten(1, 3)
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
    out, query_error = torch.zeros_like(query), query_error + unit * query.abs()
    pairs = zip(
        _of_one_slot(query, rows, slots, k.shape[1]), _of_one_slot(query_error, rows, slots, k.shape[1]), strict=True
    )
    for (some, one, mask), (_, one_error, _) in pairs:
        of_caches = keys, values, keys_error, values_error
        operands = [part[some, : mask.shape[1]].transpose(1, 2) for part in of_caches]
        given = one, *operands[:2], scale, mask, dtype, one_error, *operands[2:]
        out[some] = attention.attend_bound(*given).flatten(1, 3)
    return out, written_k, written_v


def cost(case: Case) -> Cost:
    """The filled part of the caches read once (half of the capacity on average, all of it for one row)."""
    keys = case["S"] * (1 if case["B"] == 1 else (case["B"] + 1) / 2)
    size, width = getattr(torch, case.dtype).itemsize, case["D"]
    moved = size * width * (2 * keys * case["Hkv"] + 2 * case["B"] * (case["Hq"] + case["Hkv"]))
    return Cost(int(moved), int(4 * keys * case["Hq"] * width))
