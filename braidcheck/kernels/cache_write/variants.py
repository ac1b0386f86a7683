"""Equivalent implementations of ``cache_write``: the same copies in another order."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.cache_write import cache_write as wrapper
from braidcheck.kernels.common.blocks import other_blocks


def one_by_one(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """One copy a token."""
    for token, (row, slot) in enumerate(zip(rows.tolist(), slots.tolist(), strict=True)):
        k_cache[row, slot], v_cache[row, slot] = k[token], v[token]


def flat(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """The caches as one long row of slots."""
    indices = rows.long() * k_cache.shape[1] + slots.long()
    k_cache.flatten(0, 1).index_copy_(0, indices, k)
    v_cache.flatten(0, 1).index_copy_(0, indices, v)


def last_first(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, rows: Tensor, slots: Tensor) -> None:
    """Tokens from the last to the first."""
    k_cache.index_put_((rows.long().flip(0), slots.long().flip(0)), k.flip(0))
    v_cache.index_put_((rows.long().flip(0), slots.long().flip(0)), v.flip(0))


VARIANTS = {
    "other blocks": other_blocks(wrapper),
    "one by one": one_by_one,
    "flat": flat,
    "last first": last_first,
}
