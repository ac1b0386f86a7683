"""Keeps decoders between requests, so that a request like an earlier one records no CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TypeAlias

from braidcheck.errors import UserError
from braidcheck.kernels.common.grid import next_of_few
from braidcheck.models.cache import KVCache
from braidcheck.models.decode import Decoder
from braidcheck.models.model import Model
from braidcheck.models.sampling import Sampling

MAX_KEPT = 4  # decoders, each with its cache
MIN_CAPACITY_STEP = 64  # slots between two capacities of kept caches
Key: TypeAlias = tuple[int, int, Sampling, tuple[int, ...]]


def rounded_capacity(slots: int) -> int:
    """The capacity of a kept cache for so many slots."""
    return next_of_few(max(1, slots), MIN_CAPACITY_STEP)


class Decoders:
    """A pool of decoders that no request is using; a decoder is never shared by two requests."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.kept: list[Decoder] = []  # the one used last at the end
        self.lock = Lock()

    def take(self, rows: int, slots: int, sampling: Sampling, stop: Sequence[int]) -> tuple[KVCache, Decoder | None]:
        """An empty cache for so many slots per row, and its decoder, if one is kept. Raises UserError if the model has
        too few positions or the device too little memory.
        """
        capacity = min(rounded_capacity(slots), max(slots, self.model.config.max_position_embeddings))
        key = _key(rows, capacity, sampling, stop)
        if decoder := self._kept(key):
            decoder.cache.clear()
            return decoder.cache, decoder
        try:
            return self.model.new_cache(rows, capacity), None
        except UserError:
            with self.lock:
                self.kept.clear()
            return self.model.new_cache(rows, slots), None

    def keep(self, decoder: Decoder) -> None:
        """Keep a decoder for a later request; drops the least recently used one."""
        with self.lock:
            self.kept.append(decoder)
            del self.kept[:-MAX_KEPT]

    def _kept(self, key: Key) -> Decoder | None:
        with self.lock:
            for place, decoder in enumerate(self.kept):
                if _key(len(decoder.tokens), decoder.cache.capacity, decoder.sampling, decoder.stop_tokens) == key:
                    return self.kept.pop(place)
        return None


def _key(rows: int, capacity: int, sampling: Sampling, stop: Sequence[int]) -> Key:
    """What a recorded decode step depends on, apart from the model."""
    return rows, capacity, replace(sampling, seed=0), tuple(stop)
