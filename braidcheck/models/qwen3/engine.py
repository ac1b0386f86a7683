"""The model: a forward pass made of the kernels, prefill of a sequence, and answers to prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels.gate_up_silu import gate_up_silu
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.lm_head import lm_head
from braidcheck.kernels.sample import sample
from braidcheck.models.qwen3 import memory
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.attention import ATTENTIONS, Step
from braidcheck.models.qwen3.cache import KVCache
from braidcheck.models.qwen3.decode import Decoder
from braidcheck.models.qwen3.sampling import GREEDY, Sampling
from braidcheck.models.qwen3.weights import LayerWeights, Weights
from braidcheck.numerics.rope import rope_table
from braidcheck.settings import PRODUCTION

Trace = Callable[[int, str, Tensor], None]
Prompt = Tensor | Sequence[int]
CHUNK = 4096  # tokens of a prompt that go through the layers at once
BURST = 8  # tokens of a stream that are decoded before the host looks at them


def _ignore(name: str, tensor: Tensor) -> None:
    """Nobody looks on."""


class Engine:
    """A Qwen3 of Triton kernels on one device."""

    def __init__(self, config: Qwen3Config, weights: Weights, attention: str = PRODUCTION) -> None:
        """``attention`` names one of ``ATTENTIONS``. Raises UserError for another name."""
        if attention not in ATTENTIONS:
            raise UserError(f"no attention {attention!r}: give one of {', '.join(ATTENTIONS)}")
        self.config = config
        self.weights = weights
        self.device = weights.embedding.device
        self.graphed = self.device.type == "cuda"  # whether a decode step is recorded as one CUDA graph
        self.chunk = CHUNK
        self.cos_sin = rope_table(
            config.max_position_embeddings, config.head_dim, config.rope_theta, device=str(self.device)
        )
        self.attention = ATTENTIONS[attention](config, self.cos_sin)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        attention: str = PRODUCTION,
    ) -> Engine:
        """The engine for a checkpoint directory. Raises CheckpointError in one line for what it cannot load.

        Raises UserError where the device has no room for the weights.
        """
        config = Qwen3Config.from_directory(directory)
        memory.require_room("the weights", memory.of_weights(config, dtype), device, "take a GPU with more memory")
        return cls(config, Weights.from_directory(directory, config, device, dtype), attention)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache. Raises UserError where the model has no positions, or the device no room, for that much."""
        if capacity > self.config.max_position_embeddings:
            limit = self.config.max_position_embeddings
            raise UserError(f"{capacity} tokens are more than the model's {limit} positions: give fewer")
        # As the projections give K and V; the residual stream, as wide as the embedding, may be wider.
        dtype = self.weights.layers[0].qkv.dtype
        needed = memory.of_cache(self.config, batch, capacity, dtype)
        needed += memory.of_work(self.config, max(batch, min(capacity, self.chunk)), batch)
        what = f"{batch} row{'s' * (batch > 1)} of {capacity} tokens"
        memory.require_room(what, needed, self.device, "give fewer rows or fewer tokens")
        return KVCache.empty(self.config, batch, capacity, str(self.device), dtype)

    def layer(self, w: LayerWeights, h: Tensor, step: Step, k_cache: Tensor, v_cache: Tensor, trace=_ignore) -> Tensor:
        """One decoder layer: h[T,H] -> [T,H], writing the new tokens' K and V into the caches [B,S,Hkv,D]."""
        h = self.attention(w, h, step, k_cache, v_cache, trace)
        h = linear_residual(gate_up_silu(h, w.gate_up, w.post_norm, self.config.rms_norm_eps), w.down, h)
        trace("hidden", h)
        return h

    def forward(self, ids: Tensor, step: Step, cache: KVCache, trace: Trace | None = None) -> Tensor:
        """The residual stream [T,H] after the last layer, for ids int64 [T]."""
        h = torch.nn.functional.embedding(ids, self.weights.embedding)
        for index, w in enumerate(self.weights.layers):
            h = self.layer(w, h, step, cache.k[index], cache.v[index], partial(trace, index) if trace else _ignore)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """float32 logits [T,V] of the residual stream h[T,H]."""
        return lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps)

    def next_tokens(
        self, h: Tensor, sampling: Sampling = GREEDY, seeds: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """The token int64 [T] after each row of the residual stream h[T,H]: the most likely one, no logits stored, or
        one drawn, of which the noise's ``seeds`` and the tokens' own ``positions`` are int64 [T]."""
        if sampling.greedy:
            return lm_head(h, self.weights.norm, self.weights.head, self.config.rms_norm_eps, argmax=True)
        return sample(self.logits(h), seeds, positions, sampling.temperature, sampling.top_k, sampling.top_p)

    def prefill(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """float32 logits [T,V] at every position of one sequence, ids int64 [T].

        ``trace(layer, name, tensor)`` is shown each layer's "q" [T,Hq,D] and "k" [T,Hkv,D] after norm and RoPE, and
        "hidden" [T,H], the residual stream behind the layer.
        """
        memory.require_room(
            f"the logits of {len(ids)} tokens", memory.of_work(self.config, len(ids), len(ids)), self.device,
            "give fewer tokens",
        )  # fmt: skip
        cache = self.new_cache(1, len(ids))
        return self.logits(self.forward(ids.to(self.device), Step.prompt(len(ids), self.device), cache, trace))

    def feed(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Put a prompt, ids int64 [T], into the first row of ``cache``; the residual stream [1,H] of its last token."""
        for start in range(0, len(ids), self.chunk):
            part = ids[start : start + self.chunk]
            h = self.forward(part, Step.prompt(len(part), self.device, start), cache)
        return h[-1:]

    def generate(
        self,
        ids: Prompt | Sequence[Prompt],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stop: Sequence[int] = (),
    ) -> list[int] | list[list[int]]:
        """The answer to a prompt, or to each of several of any lengths: at most ``max_new_tokens`` tokens.

        An answer ends with the first of the ``stop`` tokens. Raises UserError for prompts that the model cannot read,
        more tokens than it has positions, and where memory will not do.
        """
        prompts = [ids] if _is_one(ids) else list(ids)
        decoder = self._begin(prompts, max_new_tokens, sampling, stop)
        first = decoder.tokens[:, None].clone()
        rows = torch.cat([first, decoder.run(max(0, max_new_tokens - 1))], dim=1)[:, :max_new_tokens].tolist()
        answers = [_until(row, stop) for row in rows]
        return answers[0] if _is_one(ids) else answers

    def stream(
        self, ids: Prompt, max_new_tokens: int, sampling: Sampling = GREEDY, stop: Sequence[int] = ()
    ) -> Iterator[int]:
        """The tokens that ``generate`` gives to one prompt, as they come, a few at a time; refused alike, at once."""
        return self._stream(self._begin([ids], max_new_tokens, sampling, stop), max_new_tokens, stop)

    def _stream(self, decoder: Decoder, count: int, stop: Sequence[int]) -> Iterator[int]:
        burst = decoder.tokens.tolist()[:count]
        while burst:
            yield from (burst := _until(burst, stop))
            count -= len(burst)
            burst = [] if burst[-1] in stop else decoder.run(min(BURST, count))[0].tolist()

    def _begin(self, prompts: Sequence[Prompt], count: int, sampling: Sampling, stop: Sequence[int]) -> Decoder:
        """All prompts in one cache with room for ``count`` tokens more, the first of these drawn."""
        if count < 0:
            raise UserError(f"{count} new tokens: give 0 or more")
        rows = [self._ids(prompt) for prompt in prompts]
        cache = self.new_cache(len(rows), max(map(len, rows), default=0) + count)
        last = torch.cat([self.feed(row, cache.row(index)) for index, row in enumerate(rows)])
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        tokens = self.next_tokens(last, sampling, sampling.seeds(len(rows), self.device), lengths)
        return Decoder(self, cache, tokens, lengths, sampling, stop)

    def _ids(self, prompt: Prompt) -> Tensor:
        if not _is_one(prompt):
            raise UserError("a prompt is a list of ids: give several to generate, as a list of such lists")
        ids = torch.as_tensor(prompt, dtype=torch.int64)
        if not len(ids):
            raise UserError("an empty prompt has no next token: give at least one id")
        low, high, vocab = int(ids.min()), int(ids.max()), self.config.vocab_size
        if low < 0 or high >= vocab:
            raise UserError(
                f"token {high if low >= 0 else low} is not one of the model's {vocab}: give ids of its tokenizer"
            )
        return ids.to(self.device)


def _is_one(ids: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is one prompt, not several."""
    return ids.dim() == 1 if isinstance(ids, Tensor) else not len(ids) or isinstance(ids[0], int)


def _until(tokens: list[int], stop: Sequence[int]) -> list[int]:
    """The tokens up to the first of the ``stop`` ones, with it."""
    return tokens[: next((place + 1 for place, token in enumerate(tokens) if token in stop), len(tokens))]
