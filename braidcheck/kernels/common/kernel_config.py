"""What a launch config is, and what it is found by: op, regime and size bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property


class Regime(Enum):
    """The kinds of kernel that one op may have, by the number M of its rows."""

    GEMV = "one row, of decode attention a few"
    SMALL_M = "as many rows as one tensor-core tile has"
    TILED = "any number of rows, a tile a program"
    SPLIT_K = "few outputs of long sums: parts of K by programs of their own, summed by a second kernel"
    PERSISTENT = "many rows: tiles through TMA, several a program"
    __hash__ = object.__hash__  # Enum's own is Python code, and every launch looks its config up


class SizeBucket(Enum):
    """Sizes within a regime that are tuned apart: of TILED by BLOCK_M, of PERSISTENT by M*N, of SPLIT_K by M, of
    attention by keys."""

    ANY = ""
    TINY = "tiny"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    __hash__ = object.__hash__


@dataclass(frozen=True)
class KernelConfig:
    """Tile shape and launch options of one kernel; None for what the kernel does not take.

    Of attention ``block_m`` counts queries and ``block_n`` keys; where projections are fused with it,
    ``attention_block_n`` counts keys. ``ctas_per_sm`` sizes a persistent grid, ``num_ctas`` is a whole grid,
    ``num_splits`` are the parts of K that programs have, ``num_slices`` those that the warps of one program have.
    ``prefetch_k`` elements of each weight row are prefetched into L2 before the wait.
    """

    block_m: int | None = None
    block_n: int | None = None
    block_k: int | None = None
    attention_block_n: int | None = None
    heads_per_tile: int | None = None
    min_keys_per_split: int | None = None
    max_splits: int | None = None
    combine_block: int | None = None
    ctas_per_sm: int | None = None
    num_ctas: int | None = None
    num_splits: int | None = None
    num_slices: int | None = None
    prefetch_k: int | None = None
    num_warps: int | None = None
    num_stages: int | None = None

    def meta(self) -> dict[str, int]:
        """The keyword arguments of a launch: constexprs as ``BLOCK_M``, Triton's own options as ``num_warps``."""
        return dict(self._meta)

    @cached_property
    def _meta(self) -> dict[str, int]:  # once a config: a launch takes microseconds
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name if name in ("num_warps", "num_stages") else name.upper(): value
            for name, value in values.items()
            if value is not None
        }


Key = tuple[str, Regime, SizeBucket]
Configs = Mapping[Key, KernelConfig]

GEMV, SMALL_M, TILED, SPLIT_K, PERSISTENT = Regime
ANY, TINY, SMALL, MEDIUM, LARGE = SizeBucket
