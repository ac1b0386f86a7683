"""Decode: one token per row and step; on a GPU one CUDA graph holds several steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels.common.pdl import programmatic_dependent_launch
from braidcheck.models.cache import KVCache
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.model import Model
from braidcheck.models.sampling import GREEDY, Sampling

STOP_CHECK_INTERVAL = 32  # steps after which the host checks again whether all rows have stopped
STEPS_PER_GRAPH = 8  # decode steps in one CUDA graph: launching a graph costs as much as four kernels


class Decoder:
    """Decodes one token per row and step; on a GPU a CUDA graph holds STEPS_PER_GRAPH steps, or one of the last. The
    host need not wait for it. A row whose newest token is one of ``stop`` repeats it from then on and takes no more
    cache.
    """

    def __init__(
        self,
        model: Model,
        cache: KVCache,
        tokens: Tensor,
        lengths: Tensor,
        sampling: Sampling = GREEDY,
        stop: Sequence[int] = (),
    ) -> None:
        """``tokens`` int64 [B] are the newest of each row, not yet in the cache; ``lengths`` [B] those in it."""
        self.model, self.cache, self.sampling = model, cache, sampling
        self.tokens, self.seq_lens = tokens.clone(), lengths.clone()
        self.seeds = sampling.seeds(len(tokens), tokens.device)
        self.stop_tokens = tuple(stop)
        self.stop = torch.tensor(list(stop), dtype=torch.int64, device=tokens.device)
        self.finished = self._stopped()
        heads = model.config.num_key_value_heads
        self.split_counter = torch.zeros(len(tokens), heads, dtype=torch.int32, device=tokens.device)
        self.restarted = False
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def restart(self, tokens: Tensor, lengths: Tensor, sampling: Sampling) -> None:
        """Start over with other prompts in the same cache and another seed; recorded graphs are kept."""
        self.sampling, self.restarted = sampling, True
        for mine, given in (
            (self.tokens, tokens),
            (self.seq_lens, lengths),
            (self.seeds, sampling.seeds(len(tokens), tokens.device)),
        ):
            mine.copy_(given)
        self.finished.copy_(self._stopped())

    def step(self) -> None:
        """Feed the newest token of each row and replace it by the next one."""
        metadata = AttentionMetadata.decode(self.seq_lens, self.split_counter)
        h = self.model.forward(self.tokens, metadata, self.cache)
        positions = None if self.sampling.greedy else metadata.lengths
        tokens = self.model.next_tokens(h, self.sampling, self.seeds, positions)
        if len(self.stop):
            self.tokens.copy_(torch.where(self.finished, self.tokens, tokens))
            self.seq_lens += ~self.finished
            self.finished.copy_(self._stopped())
        else:
            self.tokens.copy_(tokens)
            self.seq_lens += 1

    def run(self, count: int) -> Tensor:
        """The next ``count`` tokens of each row, int64 [B, count]. Raises UserError if the cache is too small."""
        if count and int(self.seq_lens.max()) + count > self.cache.capacity:
            raise UserError(f"the cache holds {self.cache.capacity} tokens: allocate it for {count} more")
        out = torch.empty(len(self.tokens), count, dtype=torch.int64, device=self.tokens.device)
        use_cuda_graph = self.model.use_cuda_graph and (count > 1 or self.restarted)  # recording takes ten steps' time
        index = 0
        while index < count:
            if len(self.stop) and index % STOP_CHECK_INTERVAL == 0 and bool(self.finished.all()):
                out[:, index:] = self.tokens[:, None]
                break
            steps = STEPS_PER_GRAPH if count - index >= STEPS_PER_GRAPH else 1
            out[:, index : index + steps] = self._advance(steps, use_cuda_graph)
            index += steps
        return out

    def _advance(self, steps: int, use_cuda_graph: bool) -> Tensor:
        """The tokens of the next ``steps`` steps, int64 [B, steps]."""
        if not use_cuda_graph:
            return self._serial(steps)
        if steps not in self.graphs:
            self.graphs[steps] = self._recorded(steps)
        graph, tokens = self.graphs[steps]
        graph.replay()
        return tokens

    def _serial(self, steps: int) -> Tensor:
        tokens = []
        for _ in range(steps):
            self.step()
            tokens.append(self.tokens.clone())
        return torch.stack(tokens, dim=1)

    def _stopped(self) -> Tensor:
        return (self.tokens[:, None] == self.stop).any(dim=1)

    def _recorded(self, steps: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A graph of so many steps, and the tensor of their tokens."""
        state = self.tokens, self.seq_lens, self.finished
        before = [tensor.clone() for tensor in state]
        graph = torch.cuda.CUDAGraph()
        with programmatic_dependent_launch():
            self.step()  # compiles the kernels; the first replay writes the same slots again
            with torch.cuda.graph(graph):
                tokens = self._serial(steps)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        return graph, tokens
