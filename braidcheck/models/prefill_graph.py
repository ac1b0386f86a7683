"""Prefill as one CUDA graph for each of a few prompt lengths."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels.common.grid import next_of_few
from braidcheck.kernels.common.pdl import programmatic_dependent_launch
from braidcheck.models.cache import KVCache
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.model import Model

MIN_LENGTH_STEP = 16  # tokens between two lengths that have a graph


def padded_length(count: int) -> int:
    """The length with a graph to which a prompt of ``count`` tokens is padded."""
    return next_of_few(count, MIN_LENGTH_STEP)


class PrefillGraphs:
    """Puts prompts into caches, as the model does; a GPU does not wait for launches.

    A prompt is padded to one of a few lengths and goes through the layers with a cache of its own, whose slots are then
    copied: one graph serves every cache. The first prompt of a length is launched kernel by kernel, on the same padded
    tokens, so that all have the same bits; the second one records the graph. Chunks after the first are not recorded.
    Threads wait for one another, and must use one stream: a graph's memory holds one prompt at a time.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graphs: dict[int, PrefillGraph] = {}
        self.cache: KVCache | None = None
        self.lock = Lock()

    def prefill_into_cache(self, ids: Tensor, cache: KVCache) -> Tensor:
        """See ``Model.prefill_into_cache``: ids int64 [T]; the residual stream [1,H] of the last token."""
        count = min(len(ids), self.model.prefill_chunk)
        with self.lock:
            graph = self._graph(count) if self.model.use_cuda_graph else None
            if graph:
                h = graph.prefill_into_cache(ids[:count])
                cache.copy_prompt(graph.cache, count)
        if graph is None:
            return self.model.prefill_into_cache(ids, cache)
        return self.model.prefill_into_cache(ids, cache, count) if count < len(ids) else h

    def _graph(self, count: int) -> PrefillGraph | None:
        """The graph for a prompt of ``count`` tokens; None if the device has no room for a cache of its own."""
        room = min(self.model.prefill_chunk, self.model.config.max_position_embeddings)
        length = min(padded_length(count), room)
        if self.cache is None or self.cache.capacity < length:
            self.graphs.clear()
            try:
                self.cache = self.model.new_cache(1, room)
            except UserError:
                return None
        if length not in self.graphs:
            self.graphs[length] = PrefillGraph(self.model, self.cache, length)
        return self.graphs[length]


class PrefillGraph:
    """Puts prompts of up to one length into the first row of one cache, as one CUDA graph from the second on.

    A shorter prompt is padded: slots past its end are written, by tokens that it does not see.
    """

    def __init__(self, model: Model, cache: KVCache, count: int) -> None:
        """For prompts of at most ``count`` tokens. Raises UserError if the cache is too small for them."""
        if not 0 < count <= cache.capacity:
            raise UserError(f"prompts of {count} tokens do not fit into a cache of {cache.capacity}: give 1 to that")
        self.model, self.cache = model, cache
        self.ids = torch.zeros(count, dtype=torch.int64, device=model.device)
        self.metadata = AttentionMetadata.prefill(count, model.device)
        self.compiled = False
        self.graph: Any = None  # a CUDAGraph and its result once it was recorded
        self.hidden: Any = None

    def prefill_into_cache(self, ids: Tensor) -> Tensor:
        """The residual stream [1,H] of the last token of the prompt ids int64 [T]. Raises UserError if it is longer."""
        if not 0 < len(ids) <= len(self.ids):
            raise UserError(f"a prompt of {len(ids)} tokens: give 1 to {len(self.ids)}")
        self.ids[: len(ids)] = ids
        self.ids[len(ids) :] = 0
        if not (self.compiled and self.model.use_cuda_graph):
            self.compiled = True
            with programmatic_dependent_launch():  # as in the graph, so that the same kernels are compiled
                return self._forward()[len(ids) - 1 :][:1]
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.hidden[len(ids) - 1 :][:1].clone()

    def _forward(self) -> Tensor:
        return self.model.forward(self.ids, self.metadata, self.cache)

    def _record(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        with programmatic_dependent_launch(), torch.cuda.graph(self.graph):
            self.hidden = self._forward()
