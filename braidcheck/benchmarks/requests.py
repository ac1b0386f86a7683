"""End-to-end requests to the engine: latency as a user sees it, and counts of the host's work. The paired gate copies
this file into both trees: a base whose engine it cannot drive is not compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from braidcheck.benchmarks.clocks import Monitor, Reading, Sample, reading
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.model import Model
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights
from braidcheck.models.sampling import GREEDY, Sampling

NEW_TOKENS = 32  # decode steps in one request
SAMPLES = 3  # in one turn
SAMPLED = Sampling(temperature=0.8, top_k=40, top_p=0.95, seed=1)
MIXED_LENGTHS = (1, 5, 16, 17, 64, 100, 129, 255, 256, 300, 511, 700)  # prompt lengths in tokens, all different
SEED = 11
_launchable: list[Any] = []  # keeps compiled kernels alive that recorded graphs may still launch


@dataclass(frozen=True)
class Request:
    """``decode``: NEW_TOKENS steps of ``batch`` rows from ``context`` filled slots, prompt and graph made before.

    ``generate``: a prompt of ``context`` tokens and ``new_tokens`` after it, through ``Engine.generate``. ``mixed``:
    one prompt of each of MIXED_LENGTHS.
    """

    kind: str
    batch: int = 1
    context: int = 512
    new_tokens: int = NEW_TOKENS
    sampled: bool = False

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters."""
        return SAMPLED if self.sampled else GREEDY


REQUESTS: Mapping[str, Request] = {
    "decode, batch 1, context 128": Request("decode", 1, 128),
    "decode, batch 1, context 2048": Request("decode", 1, 2048),
    "decode, batch 16, context 512": Request("decode", 16, 512),
    "decode, sampled, batch 1, context 128": Request("decode", 1, 128, sampled=True),
    "first token of 512": Request("generate", context=512, new_tokens=1),
    "first token of 4096": Request("generate", context=4096, new_tokens=1),
    "512 tokens and 32 more": Request("generate", context=512),
    "prompts of mixed lengths": Request("mixed", new_tokens=2),
}


def seeded_model() -> Qwen3Model:
    """Qwen3-0.6B's sizes with seeded weights in bfloat16, on the GPU."""
    tensors = synthetic_tensors(QWEN3_0_6B, SEED, "cuda")
    return Qwen3Model(QWEN3_0_6B, Weights.from_tensors(tensors, QWEN3_0_6B, torch.bfloat16))


def prepared(request: Request, model: Model) -> Callable[[], object]:
    """A function that serves the request from the same state at each call."""
    if request.kind == "decode":
        return _decode(request, model)
    engine, lengths = Engine(model), MIXED_LENGTHS if request.kind == "mixed" else (request.context,)
    prompts = [_prompt(length, model) for length in lengths]
    return lambda: [engine.generate(prompt, request.new_tokens, request.sampling) for prompt in prompts]


def _prompt(length: int, model: Model) -> Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(0, model.config.vocab_size, (length,), generator=generator).to(model.device)


def _decode(request: Request, model: Model) -> Callable[[], object]:
    cache = model.new_cache(request.batch, request.context + request.new_tokens + 1)
    generator = torch.Generator(model.device).manual_seed(SEED)
    for part in (*cache.k, *cache.v):
        part.normal_(generator=generator)
    tokens = _prompt(request.batch, model)
    lengths = torch.full_like(tokens, request.context)
    decoder = Decoder(model, cache, tokens, lengths, request.sampling)

    def serve() -> Tensor:
        decoder.tokens.copy_(tokens)
        decoder.seq_lens.copy_(lengths)
        return decoder.run(request.new_tokens)

    return serve


class Timer:
    """A request that is ready to be timed on the GPU, and the host's deterministic ``counts`` for it."""

    def __init__(self, request: Request, model: Model, counted: bool = True) -> None:
        """Raises NoClocks if NVML is not available. Without ``counted`` it skips the counts, which take seconds."""
        self.monitor = Monitor(str(torch.cuda.get_device_properties(0).uuid))
        self.serve = prepared(request, model)
        self.counts = _counts(self.serve) if counted else {}
        self.serve()
        self._elapsed()

    def turn(self) -> Reading:
        """One round of SAMPLES requests: host seconds from the call to the last result."""
        return reading([self._elapsed() for _ in range(SAMPLES)])

    def _elapsed(self) -> Sample:
        torch.cuda.synchronize()
        before = self.monitor.read()
        began = time.perf_counter()
        self.serve()
        torch.cuda.synchronize()
        return Sample(time.perf_counter() - began, (before, self.monitor.read()))


def _counts(serve: Callable[[], object]) -> dict[str, int]:
    """The machine-independent cost of one request, by name."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with _compilations() as compiled:
        serve()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
        before = _allocations()
        serve()
        allocations = _allocations() - before
    events = [(event.name, event.device_type) for event in profiler.events()]
    calls = [name for name, where in events if where == DeviceType.CPU and name.startswith("cu")]
    return {
        "launches by the host": sum("Launch" in name for name in calls),
        "kernels and copies": sum(where == DeviceType.CUDA for _, where in events),
        "synchronisations": sum("Synchronize" in name for name in calls),
        "allocations": allocations,
        "compiled kernels": compiled[0],
    }


def _allocations() -> int:
    """Blocks that PyTorch's allocator has handed out so far."""
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0)


@contextmanager
def _compilations() -> Iterator[list[int]]:
    """Counts the kernels that are compiled or loaded from Triton's disk cache in this context, which starts with
    none."""
    import triton

    kernels = [
        value
        for name, module in sys.modules.items()
        if name.startswith("braidcheck.kernels.")
        for value in vars(module).values()
        if isinstance(value, triton.runtime.JITFunction)
    ]
    _launchable.extend(dict(kernel.device_caches) for kernel in kernels)
    for kernel in kernels:
        kernel.device_caches.clear()
    count = [0]

    def seen(*_: object, **__: object) -> None:
        count[0] += 1

    before, triton.knobs.runtime.jit_post_compile_hook = triton.knobs.runtime.jit_post_compile_hook, seen
    try:
        yield count
    finally:
        triton.knobs.runtime.jit_post_compile_hook = before
