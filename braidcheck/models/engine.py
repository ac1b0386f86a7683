"""The engine: answers to prompts of any lengths, whole or as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from braidcheck import models
from braidcheck.errors import UserError
from braidcheck.kernels.common.specs import INDICES
from braidcheck.models import build, memory
from braidcheck.models.checkpoint import read_tensors
from braidcheck.models.decode import Decoder
from braidcheck.models.decoders import Decoders
from braidcheck.models.model import Model, Trace
from braidcheck.models.ops import KERNELS, OpTable
from braidcheck.models.prefill_graph import PrefillGraphs
from braidcheck.models.sampling import GREEDY, Sampling
from braidcheck.settings import PRODUCTION

Prompt: TypeAlias = Tensor | Sequence[int]
STREAM_CHUNK = 8  # tokens of a stream that are decoded before the host reads them


class Engine:
    """Generates with a model. Keeps caches and graphs of a request for later ones like it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.prefill_graphs, self.decoders = PrefillGraphs(model), Decoders(model)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        attention: str = PRODUCTION,
        ops: OpTable = KERNELS,
    ) -> Engine:
        """The engine for a checkpoint directory. Raises CheckpointError in one line for what it cannot load.

        Raises UserError if the device has no room for the weights, or for an unknown ``attention``.
        """
        config = models.of_checkpoint(directory).config_of(directory)
        needed = memory.weight_bytes(config.tensor_shapes(), dtype)
        memory.ensure_free_memory("the weights", needed, device, "take a GPU with more memory")
        return cls(build.of_tensors(config, read_tensors(directory, device), dtype, attention=attention, ops=ops))

    def with_ops(self, ops: OpTable, layer_ops: Sequence[OpTable] = ()) -> Engine:
        """The same engine with other ops; see ``Model.with_ops``."""
        return Engine(self.model.with_ops(ops, layer_ops))

    def forward_logits(self, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """See ``Model.forward_logits``."""
        return self.model.forward_logits(ids, trace)

    def generate(
        self,
        ids: Prompt | Sequence[Prompt],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stop: Sequence[int] = (),
    ) -> list[int] | list[list[int]]:
        """The answer to a prompt, or to each of several of any lengths: at most ``max_new_tokens`` tokens.

        An answer ends with the first of the ``stop`` tokens. Raises UserError for invalid prompts, for more tokens than
        the model has positions, and for insufficient memory.
        """
        prompts = [ids] if is_single_prompt(ids) else list(ids)
        decoder = self._begin(prompts, max_new_tokens, sampling, stop)
        first = decoder.tokens[:, None].clone()
        rows = torch.cat([first, decoder.run(max(0, max_new_tokens - 1))], dim=1)[:, :max_new_tokens].tolist()
        self.decoders.keep(decoder)
        answers = [truncate_at_stop(row, stop) for row in rows]
        return answers[0] if is_single_prompt(ids) else answers

    def stream(
        self, ids: Prompt, max_new_tokens: int, sampling: Sampling = GREEDY, stop: Sequence[int] = ()
    ) -> Iterator[int]:
        """Yields the tokens of ``generate`` for one prompt, a few at a time; raises its errors at once."""
        return self._stream(self._begin([ids], max_new_tokens, sampling, stop), max_new_tokens, stop)

    def _stream(self, decoder: Decoder, count: int, stop: Sequence[int]) -> Iterator[int]:
        chunk = decoder.tokens.tolist()[:count]
        while chunk:
            yield from (chunk := truncate_at_stop(chunk, stop))
            count -= len(chunk)
            chunk = [] if chunk[-1] in stop else decoder.run(min(STREAM_CHUNK, count))[0].tolist()
        self.decoders.keep(decoder)

    def _begin(self, prompts: Sequence[Prompt], count: int, sampling: Sampling, stop: Sequence[int]) -> Decoder:
        """Put all prompts into one cache with room for ``count`` more tokens, and choose the first of these."""
        if count < 0:
            raise UserError(f"{count} new tokens: give 0 or more")
        if not prompts:
            raise UserError("no prompt: give at least one")
        rows = [self._ids(prompt) for prompt in prompts]
        cache, decoder = self.decoders.take(len(rows), max(map(len, rows)) + count, sampling, stop)
        lengths = torch.tensor([len(row) for row in rows], device=self.model.device)  # a copy that waits for the GPU
        prefill = self.prefill_graphs.prefill_into_cache
        last = torch.cat([prefill(row, cache.row(index)) for index, row in enumerate(rows)])
        tokens = self.model.next_tokens(last, sampling, sampling.seeds(len(rows), self.model.device), lengths)
        if decoder is None:
            return Decoder(self.model, cache, tokens, lengths, sampling, stop)
        decoder.restart(tokens, lengths, sampling)
        return decoder

    def _ids(self, prompt: Prompt) -> Tensor:
        if not is_single_prompt(prompt):
            raise UserError("a prompt is a list of ids: give several to generate, as a list of such lists")
        ids = torch.as_tensor(prompt)
        if not len(ids):
            raise UserError("an empty prompt has no next token: give at least one id")
        if ids.dtype not in INDICES:
            raise UserError(f"a prompt of {ids.dtype}: give its ids as int32 or int64")
        low, high, vocab = int(ids.min()), int(ids.max()), self.model.config.vocab_size
        if low < 0 or high >= vocab:
            raise UserError(
                f"token {high if low >= 0 else low} is not one of the model's {vocab}: give ids of its tokenizer"
            )
        return ids.to(self.model.device, torch.int64)


def is_single_prompt(ids: Prompt | Sequence[Prompt]) -> bool:
    """Whether this is one prompt instead of several."""
    return ids.dim() == 1 if isinstance(ids, Tensor) else not len(ids) or isinstance(ids[0], int)


def truncate_at_stop(tokens: list[int], stop: Sequence[int]) -> list[int]:
    """The tokens up to and including the first one in ``stop``."""
    return tokens[: next((place + 1 for place, token in enumerate(tokens) if token in stop), len(tokens))]
