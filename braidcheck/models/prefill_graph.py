"""Prompts of up to one length, whose pass through the layers is one CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.models.cache import KVCache
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.model import Model


class PrefillGraph:
    """Puts prompts into the first row of a cache, as the model does; a GPU does not wait for launches.

    For a server that keeps one for each of a few lengths: recording costs more than a single prompt gains. A shorter
    prompt is padded: slots past its end are written, by tokens that it does not see.
    """

    def __init__(self, model: Model, cache: KVCache, count: int) -> None:
        """For prompts of at most ``count`` tokens. Raises UserError where the cache has no room for them."""
        if not 0 < count <= cache.capacity:
            raise UserError(f"prompts of {count} tokens do not go into a cache of {cache.capacity}: give 1 to that")
        self.model, self.cache = model, cache
        self.ids = torch.zeros(count, dtype=torch.int64, device=model.device)
        self.metadata = AttentionMetadata.prefill(count, model.device)
        self.graph: Any = None  # a CUDAGraph and its result once it was recorded
        self.hidden: Any = None

    def prefill_into_cache(self, ids: Tensor) -> Tensor:
        """The residual stream [1,H] of the last token of the prompt ids int64 [T]. Raises UserError if it is longer."""
        if not 0 < len(ids) <= len(self.ids):
            raise UserError(f"a prompt of {len(ids)} tokens: give 1 to {len(self.ids)}")
        self.ids.zero_()[: len(ids)] = ids
        if not self.model.use_cuda_graph:
            return self._forward()[len(ids) - 1 :][:1]
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.hidden[len(ids) - 1 :][:1].clone()

    def _forward(self) -> Tensor:
        return self.model.forward(self.ids, self.metadata, self.cache)

    def _record(self) -> None:
        self._forward()  # compiles the kernels
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.hidden = self._forward()
