"""Decoders that start from the same filled caches: braidcheck's, HF transformers in two modes, and a compiled
module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from braidcheck.benchmarks.compiled import CompiledQwen3, Optimise
from braidcheck.models.architecture import Config
from braidcheck.models.decode import Decoder
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.qwen3.model import Qwen3Model

KEY_SCALE = 3.5
Caches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Start:
    """The common start of all decoders: K and V [B,Hkv,filled,D] per layer, the next tokens int64 [B], and the
    capacity."""

    caches: Caches
    tokens: Tensor
    capacity: int

    @property
    def filled(self) -> int:
        """Slots filled in each row."""
        return self.caches[0][0].shape[2]

    @property
    def lengths(self) -> Tensor:
        """``filled`` for each row, int64 [B]."""
        return torch.full_like(self.tokens, self.filled)

    def roomy(self) -> list[tuple[Tensor, Tensor]]:
        """A copy of the caches with spare capacity, [B,Hkv,capacity,D]; unfilled slots hold zeros."""
        made = []
        for pair in self.caches:
            made.append(tuple(part.new_zeros(*part.shape[:2], self.capacity, part.shape[3]) for part in pair))
            for target, part in zip(made[-1], pair, strict=True):
                target[:, :, : self.filled] = part
        return made


def seeded_start(config: Config, batch: int, filled: int, capacity: int, device: str, seed: int = 0) -> Start:
    """A start of seeded random bfloat16 numbers instead of a prefill, which would take long for 32,768 tokens. V is
    standard normal. K is KEY_SCALE times that, so that scores have a spread of about 4: attention then concentrates on
    a few slots at every context, and a wrong position shows in the answer.
    """
    generator = torch.Generator(device).manual_seed(seed)
    shape = batch, config.num_key_value_heads, filled, config.head_dim

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16)

    caches = [(KEY_SCALE * normal(), normal()) for _ in range(config.num_hidden_layers)]
    tokens = torch.randint(0, config.vocab_size, (batch,), generator=generator, device=device)
    return Start(caches, tokens, capacity)


class Subject(Protocol):
    """Something that decodes greedily from a Start."""

    def logits(self) -> Tensor:
        """The logits [B,V] after the newest tokens; the state does not advance."""

    def run(self, count: int) -> Tensor:
        """The next ``count`` tokens of each row, int64 [B, count]."""

    def written(self, slots: slice) -> list[Tensor]:
        """K, V of the first layer, of the second, ...: [B,slots,Hkv,D] of those slots."""


class BraidcheckDecoder:
    """The engine's Decoder."""

    def __init__(self, model: Qwen3Model, start: Start) -> None:
        self.model, self.start = model, start
        self.cache = model.new_cache(len(start.tokens), start.capacity)
        for layer, (k, v) in enumerate(start.caches):
            self.cache.k[layer][:, : start.filled] = k.transpose(1, 2)
            self.cache.v[layer][:, : start.filled] = v.transpose(1, 2)
        self.decoder = Decoder(model, self.cache, start.tokens, start.lengths)

    def logits(self) -> Tensor:
        """See Subject."""
        h = self.model.forward(self.start.tokens, AttentionMetadata.decode(self.start.lengths), self.cache)
        return self.model.logits(h)

    def run(self, count: int) -> Tensor:
        """See Subject."""
        return self.decoder.run(count)

    def written(self, slots: slice) -> list[Tensor]:
        """See Subject."""
        return [part[:, slots] for pair in zip(self.cache.k, self.cache.v, strict=True) for part in pair]


class HFGenerate:
    """HF's ``generate``, greedy, with its dynamic cache; each call continues where the last one stopped."""

    def __init__(self, hf: Any, start: Start) -> None:
        from transformers import DynamicCache

        self.hf, self.tokens = hf, start.tokens[:, None]
        self.cache = DynamicCache(ddp_cache_data=[tuple(part.to(hf.dtype) for part in pair) for pair in start.caches])

    def logits(self) -> Tensor:
        """See Subject."""
        logits = self.hf(self.tokens, past_key_values=self.cache, use_cache=True).logits[:, -1]
        self.cache.crop(-1)
        return logits

    def run(self, count: int) -> Tensor:
        """See Subject."""
        seen = self.tokens.new_ones(len(self.tokens), self.cache.get_seq_length() + 1)
        options = {"do_sample": False, "min_new_tokens": count, "max_new_tokens": count, "pad_token_id": 0}
        out = self.hf.generate(self.tokens, attention_mask=seen, past_key_values=self.cache, **options)[:, 1:]
        self.tokens = out[:, -1:]
        return out

    def written(self, slots: slice) -> list[Tensor]:
        """See Subject."""
        return _of_heads_first([(layer.keys, layer.values) for layer in self.cache.layers], slots)


class HFStatic:
    """HF's model, compiled as its documentation shows: a static cache, torch's CUDA graphs and a Python loop."""

    def __init__(self, hf: Any, start: Start, optimise: Optimise) -> None:
        from transformers import StaticCache

        self.filled, self.tokens = start.filled, start.tokens[:, None]
        self.cache = StaticCache(config=hf.config, max_cache_len=start.capacity)
        for layer, (k, v) in zip(self.cache.layers, start.caches, strict=True):
            layer.update(k.to(hf.dtype), v.to(hf.dtype))
        self.forward = optimise(hf.forward)

    def logits(self) -> Tensor:
        """See Subject."""
        logits = self._forward().clone()
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(self.filled)
        return logits

    def run(self, count: int) -> Tensor:
        """See Subject."""
        made = []
        for _ in range(count):
            self.tokens = self._forward().argmax(-1, keepdim=True)
            made.append(self.tokens)
        return torch.cat(made, dim=1)

    def written(self, slots: slice) -> list[Tensor]:
        """See Subject."""
        return _of_heads_first([(layer.keys, layer.values) for layer in self.cache.layers], slots)

    def _forward(self) -> Tensor:
        return self.forward(self.tokens, past_key_values=self.cache, use_cache=True).logits[:, -1]


class OwnModule(CompiledQwen3):
    """A PyTorch module without custom kernels, compiled; one step is one CUDA graph."""

    def __init__(self, model: Qwen3Model, start: Start, optimise: Optimise) -> None:
        super().__init__(model.config, model.weights, start.roomy(), start.tokens, start.lengths, optimise)

    def written(self, slots: slice) -> list[Tensor]:
        """See Subject."""
        return _of_heads_first(self.caches, slots)


def _of_heads_first(caches: Caches, slots: slice) -> list[Tensor]:
    return [part[:, :, slots].transpose(1, 2) for pair in caches for part in pair]


HF_STATIC = "HF static cache + compile"
TUNED = {"coordinate_descent_tuning": True}  # makes one token's products reductions of Inductor's own, no cuBLAS


def baselines_of(model: Qwen3Model, hf: Any, start: Start) -> Mapping[str, Callable[[], Subject]]:
    """The baselines by name; each is built when it is called."""
    once = partial(torch.compile, fullgraph=True, dynamic=False)
    return {
        "HF generate": lambda: HFGenerate(hf, start),
        HF_STATIC: lambda: HFStatic(hf, start, partial(once, mode="reduce-overhead")),
        "own module, compile + CUDA graph": lambda: OwnModule(model, start, once),
        "the same, tuned by descent": lambda: OwnModule(model, start, partial(once, options=TUNED)),
    }
