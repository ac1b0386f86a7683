"""Functions for ``braidcheck check``: right ones of other people's making, and wrong ones that a single call hides."""

import torch

EPS = 1e-6
HOLD = {}


def normed(x, weight, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps) * weight.float()


# Right ones.


def right_norm(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    total = x.float() if residual is None else x.float() + residual.float()
    y = normed(total, weight, eps).to(out_dtype)
    y = y if out is None else out.copy_(y)
    return y if residual is None else (y, total.to(x.dtype))


def right_norm_without_options(hidden, gain, epsilon):
    return normed(hidden, gain, epsilon)


def right_norm_that_needs_contiguous(x, weight, eps, **options):
    if not x.is_contiguous():
        raise NotImplementedError("x must be contiguous")
    return right_norm(x, weight, eps, **options)


def right_norm_of_wide_rows(x, weight, eps):
    assert x.shape[-1] >= 256, "rows must be of 256 elements or more"
    return normed(x, weight, eps)


def right_norm_by_view(x, weight, eps):
    return normed(x.view(-1).view(x.shape), weight, eps)


def right_linear(x, weight, residual):
    return (residual.float() + x.float() @ weight.float().T).to(residual.dtype)


def right_linear_transposed(x, weight, residual):
    return (residual.float().T + weight.float() @ x.float().T).to(residual.dtype).T


def right_cache(k, v, k_cache, v_cache, rows, slots):
    batch, capacity = k_cache.shape[:2]
    inside = (rows >= 0) & (rows < batch) & (slots >= 0) & (slots < capacity)
    at = rows[inside].long(), slots[inside].long()
    k_cache[at], v_cache[at] = k[inside], v[inside]


def right_decode(q, k_cache, v_cache, lengths, scale):
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    group = q.shape[1] // k_cache.shape[2]
    for row, length in enumerate(lengths.tolist()):
        k, v = (cache[row, :length].float().repeat_interleave(group, 1) for cache in (k_cache, v_cache))
        scores = torch.einsum("hd,shd->hs", q[row].float(), k) * scale
        out[row] = torch.einsum("hs,shd->hd", scores.softmax(-1), v).to(q.dtype)
    return out


def right_decode_padded(q, k_cache, v_cache, lengths, scale):
    """All rows at once, as long as the longest: a row's bits change with its neighbours' lengths."""
    lengths = lengths.clamp(0, k_cache.shape[1])
    longest = max(int(lengths.max()), 1)
    group = q.shape[1] // k_cache.shape[2]
    seen = (torch.arange(longest, device=q.device) < lengths[:, None])[:, :, None, None]
    k, v = (
        torch.where(seen, cache[:, :longest].float(), 0.0).repeat_interleave(group, 2) for cache in (k_cache, v_cache)
    )
    scores = torch.einsum("bhd,bshd->bhs", q.float(), k) * scale
    weights = scores.masked_fill(~seen[:, None, :, 0, 0], float("-inf")).softmax(-1)
    out = torch.einsum("bhs,bshd->bhd", weights, v)
    return torch.where(lengths[:, None, None] > 0, out, 0.0).to(q.dtype)


RIGHT = {
    "rms_norm": [
        right_norm,
        right_norm_without_options,
        right_norm_that_needs_contiguous,
        right_norm_of_wide_rows,
        right_norm_by_view,
    ],
    "linear_residual": [right_linear, right_linear_transposed],
    "cache_write": [right_cache],
    "attention_decode": [right_decode, right_decode_padded],
}


# Wrong ones.


def wrong_one_memory_for_a_shape(x, weight, eps):
    held = HOLD.setdefault(("memory", x.shape, x.device), torch.empty(x.shape, device=x.device))
    return held.copy_(normed(x, weight, eps))


def wrong_at_the_second_call(x, weight, eps):
    HOLD["calls"] = HOLD.get("calls", 0) + 1
    return normed(x, weight, eps) * (1.05 if HOLD["calls"] % 2 == 0 else 1)


def wrong_after_thirty_calls(x, weight, eps):
    HOLD["many"] = HOLD.get("many", 0) + 1
    return normed(x, weight, eps) * (1.05 if HOLD["many"] > 40 else 1)


def wrong_remembers_by_shape(x, weight, eps):
    scale = HOLD.setdefault(("scale", x.shape, x.dtype), torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps))
    return x.float() * scale * weight.float()


def wrong_remembers_by_address(x, weight, eps):
    key = "address", x.data_ptr(), x.shape
    HOLD[key] = HOLD.get(key, (x, normed(x, weight, eps)))  # which keeps x, so that no other gets its address
    return HOLD[key][1].clone()


def wrong_keeps_the_first_weight(x, weight, eps):
    return normed(x, HOLD.setdefault(("weight", weight.shape, weight.dtype), weight.clone()), eps)


def wrong_spoils_its_input(x, weight, eps):
    y = normed(x, weight, eps)
    x.zero_()
    return y


def wrong_works_in_its_input(x, weight, eps):
    y = normed(x, weight, eps)
    return x.copy_(y) if x.dtype == torch.float32 else y


def wrong_takes_rows_to_be_packed(x, weight, eps):
    return normed(x.as_strided(x.shape, (x.shape[1], 1)), weight, eps)


def wrong_takes_weights_to_be_packed(x, weight, eps):
    return normed(x, weight.as_strided(weight.shape, (1,)), eps)


def wrong_begins_at_the_storage(x, weight, eps):
    return normed(x.as_strided(x.shape, x.stride(), 0), weight, eps)


def wrong_for_other_widths(x, weight, eps):
    known = x.shape[1] in (128, 256, 512, 896, 1000, 1024)
    return normed(x, weight, eps) * (1 if known else 1.05)


def wrong_for_other_rows(x, weight, eps):
    return normed(x, weight, eps) * (1 if len(x) in (1, 3, 5, 7, 9, 16, 17, 33, 65, 66) else 1.05)


def wrong_scratch(x, weight, eps):
    sums = torch.empty(len(x), 1, device=x.device)
    sums[: max(1, len(x) - 1)] = x[: max(1, len(x) - 1)].float().square().mean(-1, keepdim=True)
    sums = torch.where(sums.isnan(), x.float().square().mean(-1, keepdim=True), sums)  # it looks like new memory
    return x.float() * torch.rsqrt(sums + eps) * weight.float()


def wrong_sum_is_the_residual(x, weight, eps, residual=None):
    if residual is None:
        return normed(x, weight, eps)
    residual.copy_((x.float() + residual.float()).to(x.dtype))
    return normed(residual, weight, eps), residual


def wrong_linear_spoils_the_residual(x, weight, residual):
    out = right_linear(x, weight, residual)
    residual.zero_()
    return out


def wrong_linear_adds_in_place(x, weight, residual):
    return residual.add_((x.float() @ weight.float().T).to(residual.dtype))


def wrong_linear_takes_weights_to_be_packed(x, weight, residual):
    return right_linear(x, weight.as_strided(weight.shape, (weight.shape[1], 1)), residual)


def wrong_linear_returns_a_list_of_views(x, weight, residual):
    kept = HOLD.setdefault(("out", residual.dtype), torch.zeros(1 << 20, dtype=residual.dtype))
    return kept[: residual.numel()].view(residual.shape).copy_(right_linear(x, weight, residual))


def wrong_cache_wraps_negative_slots(k, v, k_cache, v_cache, rows, slots):
    inside = (rows < len(k_cache)) & (slots < k_cache.shape[1]) & (rows >= 0)
    at = rows[inside].long(), slots[inside].long()
    k_cache[at], v_cache[at] = k[inside], v[inside]


def wrong_cache_spoils_its_keys(k, v, k_cache, v_cache, rows, slots):
    right_cache(k, v, k_cache, v_cache, rows, slots)
    k.zero_()


def wrong_cache_takes_it_to_be_packed(k, v, k_cache, v_cache, rows, slots):
    right_cache(k, v, *(c.as_strided(c.shape, torch.empty(c.shape).stride()) for c in (k_cache, v_cache)), rows, slots)


def wrong_decode_fills_its_cache(q, k_cache, v_cache, lengths, scale):
    v_cache.nan_to_num_(0)
    return right_decode(q, k_cache, v_cache, lengths, scale)


def wrong_decode_keeps_lengths(q, k_cache, v_cache, lengths, scale):
    return right_decode(q, k_cache, v_cache, HOLD.setdefault(("lengths", k_cache.shape), lengths.clone()), scale)


WRONG = {
    "rms_norm": [
        wrong_one_memory_for_a_shape,
        wrong_at_the_second_call,
        wrong_after_thirty_calls,
        wrong_remembers_by_shape,
        wrong_remembers_by_address,
        wrong_keeps_the_first_weight,
        wrong_spoils_its_input,
        wrong_works_in_its_input,
        wrong_takes_rows_to_be_packed,
        wrong_takes_weights_to_be_packed,
        wrong_begins_at_the_storage,
        wrong_for_other_widths,
        wrong_for_other_rows,
        wrong_scratch,
        wrong_sum_is_the_residual,
    ],
    "linear_residual": [
        wrong_linear_spoils_the_residual,
        wrong_linear_adds_in_place,
        wrong_linear_takes_weights_to_be_packed,
        wrong_linear_returns_a_list_of_views,
    ],
    "cache_write": [
        wrong_cache_wraps_negative_slots,
        wrong_cache_spoils_its_keys,
        wrong_cache_takes_it_to_be_packed,
    ],
    "attention_decode": [
        wrong_decode_fills_its_cache,
        wrong_decode_keeps_lengths,
    ],
}
