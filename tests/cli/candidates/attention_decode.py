"""Functions for ``braidcheck check attention_decode``: right ones of other people's making, and wrong ones."""

import torch

HOLD = {}


# Right ones.


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


# Wrong ones.


def wrong_decode_fills_its_cache(q, k_cache, v_cache, lengths, scale):
    v_cache.nan_to_num_(0)
    return right_decode(q, k_cache, v_cache, lengths, scale)


def wrong_decode_keeps_lengths(q, k_cache, v_cache, lengths, scale):
    return right_decode(q, k_cache, v_cache, HOLD.setdefault(("lengths", k_cache.shape), lengths.clone()), scale)


RIGHT = [right_decode, right_decode_padded]
WRONG = [wrong_decode_fills_its_cache, wrong_decode_keeps_lengths]
