"""Reference, bound and cost of fused attention.

The bound carries every phase's error into the next: the normalised row (a norm's error, one cast) through the
projection; Q and K through norm and RoPE and their own cast; V through its cast; a pre-RoPE cache rounds K before its
norm and once more after it; operand errors are independent and move a score by scale times the sum of their products,
and the output by the formula of ``numerics.attention``; the heads are rounded once and go through a float32 dot with
the output weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from braidcheck.numerics import attention, rope, rounding
from braidcheck.op import Case, Cost

Operand = tuple[Tensor, Tensor, Tensor]  # a cache, its error before its own rounding, and with it


def places(tokens: int, batch: int, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Cache row and slot of each token: one token a row in decode, the last slots of row 0 in a prefill."""
    lengths = lengths.long().clamp_min(0)  # a negative length counts as 0; int64's minimum would wrap
    if tokens == batch:
        return torch.arange(tokens, device=lengths.device), lengths - 1
    positions = torch.arange(tokens, device=lengths.device)
    return torch.zeros_like(positions), lengths[0] - tokens + positions


def _keys(cached: Tensor, pre_rope: bool, k_norm_weight: Tensor, cos_sin: Tensor, eps: float) -> Tensor:
    """K[S,Hkv,D] as the scores take it: as cached, or normalised and rotated at its slot."""
    if not pre_rope:
        return cached
    normed = rope.head_norm(rounding.wide(cached), k_norm_weight, eps)
    slots = torch.arange(len(cached), device=cached.device)
    return rope.rotate(normed, cos_sin, slots, cached.dtype).to(cached.dtype)


def _groups(q: Tensor, rows: Tensor, slots: Tensor, capacity: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The queries that share a cache row: that row, their indices, and what each of them may see."""
    for row in rows.unique().tolist():
        of_row = (rows == row).nonzero().flatten()
        count = min(max(int(slots[of_row].max()) + 1, 0), capacity)
        mask = torch.arange(count, device=q.device)[None, :] <= slots[of_row][:, None]
        if count:
            yield row, of_row, mask


def reference(
    hidden: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    o_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    eps: float,
    scale: float,
    cache: str = "post_rope",
) -> Tensor:
    """The specification's six phases, one after another."""
    dtype, pre_rope = qkv_weight.dtype, cache in ("pre_rope", "raw")
    operand = rounding.rms_normed(hidden, norm_weight, eps).to(dtype)
    qkv = (rounding.wide(operand) @ rounding.wide(qkv_weight).T).unflatten(1, (num_heads + 2 * num_kv_heads, head_dim))
    q, k, v = qkv.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
    q = rope.rotate(rope.head_norm(q, q_norm_weight, eps), cos_sin, positions, dtype).to(dtype)
    if not pre_rope:
        k = rope.rotate(rope.head_norm(k, k_norm_weight, eps), cos_sin, positions, dtype)
    rows, slots = places(len(hidden), len(k_cache), lengths)
    in_range = (slots >= 0) & (slots < k_cache.shape[1])
    written = rows[in_range], slots[in_range]
    k_cache[written], v_cache[written] = k.to(dtype)[in_range], v.to(dtype)[in_range]
    out = torch.zeros_like(q).unflatten(1, (num_kv_heads, num_heads // num_kv_heads))
    grouped = q.unflatten(1, (num_kv_heads, num_heads // num_kv_heads))
    for row, of_row, mask in _groups(q, rows, slots, k_cache.shape[1]):
        keys = _keys(k_cache[row, : mask.shape[1]], pre_rope, k_norm_weight, cos_sin, eps)
        for head in range(num_kv_heads):
            values = v_cache[row, : mask.shape[1], head]
            out[of_row, head] = attention.attend(grouped[of_row, head], keys[:, head], values, scale, mask)
    return (rounding.wide(out.flatten(1)) @ rounding.wide(o_weight).T).to(o_weight.dtype)


def bound(
    hidden: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    o_weight: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    eps: float,
    scale: float,
    cache: str = "post_rope",
) -> tuple[Tensor, Tensor, Tensor]:
    """See the module's derivation. Gives the errors of out, of k_cache and of v_cache."""
    dtype, pre_rope = qkv_weight.dtype, cache in ("pre_rope", "raw")
    unit = rounding.ROUNDOFF[dtype]
    sizes = [num_heads, num_kv_heads, num_kv_heads]
    operand, weight = rounding.rms_normed(hidden.double(), norm_weight.double(), eps), qkv_weight.double()
    cast = dtype if dtype != torch.float32 else None
    error = rounding.projection_error(operand, weight, cast, rounding.norm_error(hidden.shape[1]))
    (q, k, v), (q_error, k_error, v_error) = (
        part.unflatten(1, (sum(sizes), head_dim)).split(sizes, dim=1) for part in (operand @ weight.T, error)
    )

    def rotated(x: Tensor, x_error: Tensor, norm: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        normed, error = rope.normed_error(x, x_error, norm, eps)
        return rope.rotate(normed, cos_sin.double(), positions), rope.rotated_error(normed, error, cos_sin, positions)

    q, q_error = rotated(q, q_error, q_norm_weight, positions)
    if not pre_rope:
        k, k_error = rotated(k, k_error, k_norm_weight, positions)
    rows, slots = places(len(hidden), len(k_cache), lengths)
    caches = [_written(k_cache, k, k_error, rows, slots, unit), _written(v_cache, v, v_error, rows, slots, unit)]
    heads, error = _attended(
        q,
        q_error + unit * q.abs(),
        caches,
        rows,
        slots,
        (num_kv_heads, scale, dtype),
        (lambda x, e: _pre_rope_keys(x, e, rotated, k_norm_weight, unit)) if pre_rope else None,
    )
    return _projected_error(heads, error + unit * heads.abs(), o_weight.double()), caches[0][1], caches[1][1]


def _written(cache: Tensor, new: Tensor, new_error: Tensor, rows: Tensor, slots: Tensor, unit: float) -> Operand:
    """The cache with the new tokens in it, their error before they are rounded to its dtype, and after."""
    in_range = (slots >= 0) & (slots < cache.shape[1])
    written = rows[in_range], slots[in_range]
    full, error = cache.double(), torch.zeros_like(cache, dtype=torch.float64)
    full[written], error[written] = new[in_range], new_error[in_range]
    rounded = torch.zeros_like(error)
    rounded[written] = unit * new[in_range].abs()
    return full, error, error + rounded


def _projected_error(heads: Tensor, error: Tensor, weight: Tensor) -> Tensor:
    """The error of ``heads`` @ ``weight``.T, where ``heads`` have an error of their own."""
    passed = rounding.independent(error @ weight.abs().T, (error.square() @ weight.square().T).sqrt())
    return rounding.dot_error(heads.abs() @ weight.abs().T, weight.shape[1]) + passed


def _pre_rope_keys(
    cached: Tensor,
    cached_error: Tensor,
    rotated: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    k_norm_weight: Tensor,
    unit: float,
) -> tuple[Tensor, Tensor]:
    keys, keys_error = rotated(cached, cached_error, k_norm_weight, torch.arange(len(cached), device=cached.device))
    return keys, keys_error + unit * keys.abs()


def _attended(
    q: Tensor,
    q_error: Tensor,
    caches: Sequence[Operand],
    rows: Tensor,
    slots: Tensor,
    setting: tuple[int, float, torch.dtype],
    from_raw: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None,
) -> tuple[Tensor, Tensor]:
    """Attention's output [T, Hq*D] and its error, given the errors of its operands."""
    num_kv_heads, scale, dtype = setting
    shape = num_kv_heads, q.shape[1] // num_kv_heads
    q, q_error = q.unflatten(1, shape), q_error.unflatten(1, shape)
    out, error = torch.zeros_like(q), torch.zeros_like(q)
    (k_cache, _, k_error), (v_cache, _, v_error) = caches
    for row, of_row, mask in _groups(q, rows, slots, k_cache.shape[1]):
        keys, keys_error = k_cache[row, : mask.shape[1]], k_error[row, : mask.shape[1]]
        if from_raw:
            keys, keys_error = from_raw(keys, keys_error)
        for head in range(num_kv_heads):
            values, values_error = v_cache[row, : mask.shape[1], head], v_error[row, : mask.shape[1], head]
            for part in attention.row_chunks(len(of_row), mask.shape[1], q.shape[-1]):
                tokens = of_row[part]
                arguments = q[tokens, head], keys[:, head], values, scale, mask[part]
                out[tokens, head] = attention.attend(*arguments)
                error[tokens, head] = attention.attend_bound(
                    *arguments, dtype, q_error[tokens, head], keys_error[:, head], values_error
                )
    return out.flatten(1), error.flatten(1)


def cost(case: Case) -> Cost:
    """Both weights, the stream and the cache read once; the output and the new K and V written."""
    size, tokens, width, dim = getattr(torch, case.dtype).itemsize, case["T"], case["H"], case["D"]
    rows = (case["Hq"] + 2 * case["Hkv"]) * dim
    filled = case["S"] * case["B"] if tokens == case["B"] else tokens + case.get("start")
    moved = width * (rows + case["Hq"] * dim) + 2 * tokens * width + 2 * (filled + tokens) * case["Hkv"] * dim
    pairs = filled if tokens == case["B"] else tokens * (case.get("start") + (tokens + 1) / 2)
    flops = 2 * tokens * width * (rows + case["Hq"] * dim) + 4 * pairs * case["Hq"] * dim
    return Cost(size * moved, int(flops))
