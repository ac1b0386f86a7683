"""Functions for ``braidcheck check cache_write``: right ones of other people's making, and wrong ones."""

import torch

# Right ones.


def right_cache(k, v, k_cache, v_cache, rows, slots):
    batch, capacity = k_cache.shape[:2]
    inside = (rows >= 0) & (rows < batch) & (slots >= 0) & (slots < capacity)
    at = rows[inside].long(), slots[inside].long()
    k_cache[at], v_cache[at] = k[inside], v[inside]


# Wrong ones.


def wrong_cache_wraps_negative_slots(k, v, k_cache, v_cache, rows, slots):
    inside = (rows < len(k_cache)) & (slots < k_cache.shape[1]) & (rows >= 0)
    at = rows[inside].long(), slots[inside].long()
    k_cache[at], v_cache[at] = k[inside], v[inside]


def wrong_cache_spoils_its_keys(k, v, k_cache, v_cache, rows, slots):
    right_cache(k, v, k_cache, v_cache, rows, slots)
    k.zero_()


def wrong_cache_takes_it_to_be_packed(k, v, k_cache, v_cache, rows, slots):
    right_cache(k, v, *(c.as_strided(c.shape, torch.empty(c.shape).stride()) for c in (k_cache, v_cache)), rows, slots)


RIGHT = [right_cache]
WRONG = [wrong_cache_wraps_negative_slots, wrong_cache_spoils_its_keys, wrong_cache_takes_it_to_be_packed]
