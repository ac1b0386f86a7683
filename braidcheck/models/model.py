"""The model: a forward pass made of the given ops, and prefill into a cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.models import memory
from braidcheck.models.architecture import Config
from braidcheck.models.cache import KVCache
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.ops import KERNELS, REFERENCES, OpTable
from braidcheck.models.sampling import GREEDY, Sampling
from braidcheck.numerics.rope import rope_table
from braidcheck.settings import PRODUCTION, REFERENCE

Trace = Callable[[int, str, Tensor], None]
PREFILL_CHUNK = 4096  # tokens of a prompt per prefill chunk
MAX_GATHERED_TOKENS = 16  # torch's embedding reads so few one after the other: 7.8 us for 16, a gather 1.8 us


def no_trace(name: str, tensor: Tensor) -> None:
    """Ignores a layer's tensors."""


class Model:
    """A decoder-only model on one device: its config, its weights and the ops that it calls.

    A subclass names its attention ``BACKENDS``, each made of config, table of angles and ops. Weights hold embedding,
    layers, norm and head; a layer's gate_up, post_norm and down are those of a SiLU MLP behind an RMSNorm.
    """

    BACKENDS: ClassVar[Mapping[str, Callable[..., Any]]]

    def __init__(
        self,
        config: Config,
        weights: Any,
        attention: str = PRODUCTION,
        ops: OpTable = KERNELS,
        layer_ops: Sequence[OpTable] = (),
    ) -> None:
        """``layer_ops`` are the tables of the decoder layers, one each, if they differ from ``ops``.

        ``attention`` is one of ``BACKENDS``, or "reference": the separated backend with every op's PyTorch
        reference. Raises UserError for another name.
        """
        self.config, self.weights = config, weights
        self.device = weights.embedding.device
        self.use_cuda_graph = self.device.type == "cuda"  # whether decode steps and prompts are recorded and replayed
        self.prefill_chunk = PREFILL_CHUNK
        if attention == REFERENCE:
            attention, ops, self.use_cuda_graph = "separated", REFERENCES, False
        if attention not in self.BACKENDS:
            raise UserError(f"no attention {attention!r}: give one of {', '.join((*self.BACKENDS, REFERENCE))}")
        self.cos_sin = rope_table(
            config.max_position_embeddings, config.head_dim, config.rope_theta, device=str(self.device)
        )
        self.backend = self.BACKENDS[attention]
        self._set_ops(ops, layer_ops)

    def with_ops(self, ops: OpTable, layer_ops: Sequence[OpTable] = ()) -> Model:
        """The same model with other ops, without CUDA graphs, which not every function supports."""
        model = copy.copy(self)
        model.use_cuda_graph = False
        model._set_ops(ops, layer_ops)
        return model

    def _set_ops(self, ops: OpTable, layer_ops: Sequence[OpTable]) -> None:
        layers = len(self.weights.layers)
        self.ops, self.layer_ops = ops, tuple(layer_ops) or (ops,) * layers
        if len(self.layer_ops) != layers:
            raise ValueError(f"layer_ops holds {len(self.layer_ops)} tables for {layers} layers: give one for each")
        self.attention = [self.backend(self.config, self.cos_sin, table) for table in self.layer_ops]

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache. Raises UserError if the model has too few positions or the device too little memory."""
        if capacity > self.config.max_position_embeddings:
            limit = self.config.max_position_embeddings
            raise UserError(f"{capacity} tokens are more than the model's {limit} positions: give fewer")
        # The dtype of the projections' K and V; the residual stream may have a wider dtype.
        dtype = self.weights.layers[0].qkv.dtype
        needed = memory.kv_cache_bytes(self.config, batch, capacity, dtype)
        needed += memory.activation_bytes(self.config, max(batch, min(capacity, self.prefill_chunk)), batch)
        what = f"{batch} row{'s' * (batch > 1)} of {capacity} tokens"
        memory.ensure_free_memory(what, needed, self.device, "give fewer rows or fewer tokens")
        return KVCache.empty(self.config, batch, capacity, str(self.device), dtype)

    def layer(
        self,
        index: int,
        h: Tensor,
        metadata: AttentionMetadata,
        k_cache: Tensor,
        v_cache: Tensor,
        trace: Callable[[str, Tensor], None] = no_trace,
    ) -> Tensor:
        """One decoder layer: h[T,H] -> [T,H], writing the new tokens' K and V into the caches [B,S,Hkv,D]."""
        w, ops = self.weights.layers[index], self.layer_ops[index]
        h = self.attention[index](w, h, metadata, k_cache, v_cache, trace)
        h = ops.linear_residual(ops.gate_up_silu(h, w.gate_up, w.post_norm, self.config.rms_norm_eps), w.down, h)
        trace("hidden", h)
        return h

    def embedding(self, ids: Tensor) -> Tensor:
        """The tokens' embeddings [T,H], for ids int64 [T]."""
        table = self.weights.embedding
        if 1 < len(ids) <= MAX_GATHERED_TOKENS:
            return table.gather(0, ids[:, None].expand(-1, table.shape[1]))
        return torch.nn.functional.embedding(ids, table)

    def forward(self, ids: Tensor, metadata: AttentionMetadata, cache: KVCache, trace: Trace | None = None) -> Tensor:
        """The residual stream [T,H] after the last layer, for ids int64 [T]."""
        h = self.embedding(ids)
        for index in range(len(self.weights.layers)):
            layer_trace = partial(trace, index) if trace else no_trace
            h = self.layer(index, h, metadata, cache.k[index], cache.v[index], layer_trace)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """float32 logits [T,V] of the residual stream h[T,H]."""
        return self.ops.lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps)

    def next_tokens(
        self, h: Tensor, sampling: Sampling = GREEDY, seeds: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """The token int64 [T] after each row of the residual stream h[T,H]: the most likely one, no logits stored, or
        one drawn, of which the noise's ``seeds`` and the tokens' own ``positions`` are int64 [T]."""
        if sampling.greedy:
            return self.ops.lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps, argmax=True)
        return self.ops.sample(self.logits(h), seeds, positions, sampling.temperature, sampling.top_k, sampling.top_p)

    def forward_logits(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """float32 logits [T,V] at every position of one sequence, ids int64 [T].

        ``trace(layer, name, tensor)`` is shown each layer's "q" [T,Hq,D] and "k" [T,Hkv,D] after norm and RoPE, and
        "hidden" [T,H], the residual stream after the layer. Raises UserError if there is too little memory.
        """
        memory.ensure_free_memory(
            f"the logits of {len(ids)} tokens",
            memory.activation_bytes(self.config, len(ids), len(ids)),
            self.device,
            "give fewer tokens",
        )
        cache = self.new_cache(1, len(ids))
        metadata = AttentionMetadata.prefill(len(ids), self.device)
        return self.logits(self.forward(ids.to(self.device), metadata, cache, trace))

    def prefill_into_cache(self, ids: Tensor, cache: KVCache, cached: int = 0) -> Tensor:
        """Prefill a prompt, ids int64 [T], into the first row of ``cache``; the residual stream [1,H] of its last
        token. The first ``cached`` of its tokens, fewer than T, are already there.
        """
        for start in range(cached, len(ids), self.prefill_chunk):
            chunk = ids[start : start + self.prefill_chunk]
            h = self.forward(chunk, AttentionMetadata.prefill(len(chunk), self.device, start), cache)
        return h[-1:]
