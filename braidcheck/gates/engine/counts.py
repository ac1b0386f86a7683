"""The cost of a request without a clock: launches, reads by the host, allocations and compilations.

A model of the architecture's full size, with fewer layers, runs on a fake GPU that computes nothing. There are two
kinds of limits: costs that must not depend on the length of an answer or prompt are compared at two lengths; and a host
that stays ahead of the GPU submits less than once per token and reads no more often than stated below.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from braidcheck.gates.engine.fake_gpu import FakeGPU, fake_gpu
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test import module
from braidcheck.models import memory
from braidcheck.models.architecture import Architecture
from braidcheck.settings import PRODUCTION

SHORT, LONG = 65, 129  # tokens of an answer; the difference is whole graphs of any power of two up to 64 steps
MORE = LONG - SHORT
MIN_TOKENS_PER_READ = 16  # of an answer with stop tokens: a read drains the queue of launches
MIN_TOKENS_PER_STREAM_READ = 4  # of a stream, whose tokens must be read
PROMPT = [1] * 40
MAX_LENGTH = 600  # tokens of the prompts of a mixed load
SAMPLED = {"temperature": 0.8, "top_k": 50, "top_p": 0.9}


def count_checks(architecture: Architecture) -> Iterator[tuple[str, Check]]:
    """Names and checks of the costs of a request."""
    for attention in architecture.attentions:
        yield f"decode {attention}", partial(_decode, architecture, attention)
        yield f"compilations {attention}", partial(_compilations_in_an_octave, architecture, attention)
    yield "sampled decode", partial(_decode, architecture, PRODUCTION, sampled=True)
    yield "reads with stop tokens", partial(_stop, architecture)
    yield "reads of a stream", partial(_stream, architecture)
    yield "decode step", partial(_step, architecture)
    yield "fewest launches", partial(_fewest, architecture)
    yield "prefill", partial(_prefill, architecture)
    yield "repeated request", partial(_repeated, architecture)
    yield "compilations", partial(_compilations, architecture)


def _engine(architecture: Architecture, attention: str = PRODUCTION, **sizes: int) -> Any:
    """An engine on a fake GPU; ``sizes`` are entries of the config."""
    full_size = module("models").find()[architecture.name].full_size
    config = replace(full_size, **{"num_hidden_layers": 2} | sizes)
    shapes = config.tensor_shapes().items()
    tensors = {name: torch.empty(shape, device="cuda", dtype=torch.bfloat16) for name, shape in shapes}
    model = module("models.build").of_tensors(config, tensors, torch.bfloat16, attention=attention)
    return module("models.engine").Engine(model)


def _counts(gpu: FakeGPU, call: Callable[[], object]) -> FakeGPU:
    with gpu.counted() as counts:
        call()
    return counts


def _decode(architecture: Architecture, attention: str, sampled: bool = False) -> str | None:
    """64 tokens more: fewer submissions than tokens, no launch of a kernel, no read and no allocation."""
    sampling = module("models.sampling").Sampling(**SAMPLED if sampled else {})
    with fake_gpu() as gpu:
        short, long = (
            _counts(gpu, partial(_engine(architecture, attention).generate, PROMPT, count, sampling))
            for count in (SHORT, LONG)
        )
    for what, count, limit in (
        ("launches", len(long.host.launches) - len(short.host.launches), 0),
        ("submissions", long.host.submissions - short.host.submissions, MORE - 1),
        ("reads", long.host.reads.total() - short.host.reads.total(), 0),
        ("allocations", long.host.allocations - short.host.allocations, 0),
    ):
        if count > limit:
            return f"{MORE} more tokens take {count} more {what} by the host, at most {limit}: replay CUDA graphs"
    return _within_graphs(long)


def _within_graphs(counts: FakeGPU) -> str | None:
    """Graphs that wait for the host, or no graph at all."""
    if not counts.graphs:
        return "decode records no CUDA graph"
    reads = [name for graph in counts.graphs for name in graph.reads]
    return f"a CUDA graph waits for the host: {', '.join(sorted(set(reads)))}" if reads else None


def _stop(architecture: Architecture) -> str | None:
    with fake_gpu() as gpu:
        short, long = (
            _counts(gpu, partial(_engine(architecture).generate, PROMPT, count, stop=(7,))) for count in (SHORT, LONG)
        )
    reads = long.host.reads.total() - short.host.reads.total()
    if reads > MORE // MIN_TOKENS_PER_READ:
        return f"{MORE} more tokens take {reads} more reads by the host, at most {MORE // MIN_TOKENS_PER_READ}"
    return _within_graphs(long) if reads else "no read sees that all rows have stopped"


def _stream(architecture: Architecture) -> str | None:
    with fake_gpu() as gpu:
        short, long = (_counts(gpu, partial(_read_stream, _engine(architecture), count)) for count in (SHORT, LONG))
    reads, limit = long.host.reads.total() - short.host.reads.total(), MORE // MIN_TOKENS_PER_STREAM_READ
    launches = len(long.host.launches) - len(short.host.launches)
    if reads > limit:
        return f"{MORE} more tokens of a stream take {reads} more reads by the host, at most {limit}"
    return f"{MORE} more tokens of a stream take {launches} more launches by the host" if launches else None


def _read_stream(engine: Any, count: int) -> None:
    for _ in engine.stream(PROMPT, count):
        pass


def _step(architecture: Architecture) -> str | None:
    """The work of a step does not depend on the context, its number of kernels not on the rows; it copies no cache and
    no weight."""
    with fake_gpu() as gpu:
        engine = _engine(architecture)
        # Beyond the length at which attention reaches its maximum number of splits.
        near, far = (_counts(gpu, partial(engine.generate, [1] * length, 9)).graphs[-1] for length in (8192, 16384))
        few, many = (_counts(gpu, partial(engine.generate, [PROMPT] * rows, 9)).graphs[-1] for rows in (3, 6))
        steps = 8
        permitted = len(engine.model.weights.layers) * memory.activation_bytes(engine.model.config, 1, 1)
    if far.allocated_bytes != near.allocated_bytes:
        return f"at 16384 tokens {steps} steps allocate {far.allocated_bytes} bytes, at 8192 {near.allocated_bytes}"
    if near.allocated_bytes > steps * permitted:
        return f"{steps} steps allocate {near.allocated_bytes} bytes, activations take {steps * permitted}"
    if (len(few.launches), few.torch_kernels) != (len(many.launches), many.torch_kernels):
        return f"{steps} steps of 6 rows take {many.submissions} kernels, of 3 rows {few.submissions}"
    return None


def _fewest(architecture: Architecture) -> str | None:
    """The production backend's decode step has no more kernels than any other backend's."""
    with fake_gpu() as gpu:
        kernels = {
            attention: _counts(gpu, partial(_engine(architecture, attention).generate, PROMPT, 9))
            .graphs[-1]
            .submissions
            for attention in architecture.attentions
        }
    fewest = min(kernels, key=lambda name: kernels[name])
    if kernels[PRODUCTION] <= kernels[fewest]:
        return None
    return f"8 decode steps take {kernels[PRODUCTION]} kernels, with attention {fewest} {kernels[fewest]}"


def _prefill(architecture: Architecture) -> str | None:
    """A prompt twice as long has the same kernels and reads; a vocabulary twice as large costs one more row of
    logits."""
    with fake_gpu() as gpu:
        engine = _engine(architecture)
        sizes = engine.model.config
        wide = _engine(architecture, vocab_size=2 * sizes.vocab_size)
        sampling = module("models.sampling").Sampling(**SAMPLED)
        short, long = (
            _counts(gpu, partial(_engine(architecture).generate, [1] * count, 1)).host for count in (300, 600)
        )
        few, many = (_counts(gpu, partial(one.generate, [1] * 600, 1, sampling)).host for one in (engine, wide))
    if (len(short.launches), short.torch_kernels, short.reads) != (len(long.launches), long.torch_kernels, long.reads):
        return (
            f"600 tokens of a prompt take {long.submissions} kernels and {long.reads.total()} reads, "
            f"300 take {short.submissions} and {short.reads.total()}"
        )
    # One row of float32 logits, and the sampler's sums per block of the vocabulary.
    more, limit = many.allocated_bytes - few.allocated_bytes, 2 * 4 * sizes.vocab_size
    return None if more <= limit else f"{sizes.vocab_size} more tokens in the vocabulary take {more} bytes, not {limit}"


def _repeated(architecture: Architecture) -> str | None:
    """A third equal request records no graph, and its host work does not grow with the layers."""
    with fake_gpu() as gpu:
        few, many = (_third(gpu, _engine(architecture, num_hidden_layers=layers)) for layers in (2, 4))
    if few.graphs:
        return f"a third equal request records {len(few.graphs)} CUDA graphs: keep those of earlier ones"
    if many.host.submissions > few.host.submissions:
        return (
            f"a third equal request takes {few.host.submissions} submissions with 2 layers,"
            f" {many.host.submissions} with 4: replay CUDA graphs"
        )
    return None


def _third(gpu: FakeGPU, engine: Any) -> FakeGPU:
    """The counts of the third of three requests of similar lengths."""
    return [_counts(gpu, partial(engine.generate, [1] * count, SHORT)) for count in (39, 38, 40)][-1]


def _compilations(architecture: Architecture) -> str | None:
    """After sizes around each power of two, no size between them compiles a kernel, for prompts and batches."""
    draw = random.Random(5)
    powers = [2**exponent for exponent in range(11)]
    warm = sorted({size for power in powers for size in (power - 1, power, power + 1) if size})
    few = [size for size in warm if size <= 33]
    with fake_gpu() as gpu:
        engine = _engine(architecture, num_hidden_layers=1)
        for what, call, met, sizes in (
            ("a prompt of {} tokens", partial(_answer, engine), warm, draw.sample(range(2, MAX_LENGTH), 12)),
            ("a batch of {} rows", partial(_decode_batch, engine, 40), few, draw.sample(range(5, 33), 4)),
            ("a cache of {} tokens", partial(_decode_batch, engine, rows=1), warm, draw.sample(range(2, 1024), 8)),
        ):
            if violation := _compiled_again(gpu, what, call, met, sizes):
                return violation
    return None


def _compilations_in_an_octave(architecture: Architecture, attention: str) -> str | None:
    """As ``_compilations``, of prompts between two powers of two: both ends of it, multiples of 16 and not."""
    with fake_gpu() as gpu:
        call = partial(_answer, _engine(architecture, attention, num_hidden_layers=1))
        return _compiled_again(gpu, "a prompt of {} tokens", call, [257, 272, 496, 511], [300, 301, 400, 431])


def _compiled_again(
    gpu: FakeGPU, what: str, call: Callable[[int], None], warm: Sequence[int], sizes: Sequence[int]
) -> str | None:
    known = {launch for size in warm for launch in _specialisations(gpu, partial(call, size))}
    for size in sizes:
        if new := _specialisations(gpu, partial(call, size)) - known:
            return f"{what.format(size)} compiles {_kernels(new)} again, after {len(warm)} other sizes"
    return None


def _answer(engine: Any, length: int) -> None:
    engine.generate([1] * length, 1)


def _decode_batch(engine: Any, capacity: int, rows: int) -> None:
    tokens = torch.zeros(rows, dtype=torch.int64, device="cuda")
    module("models.decode").Decoder(engine.model, engine.model.new_cache(rows, capacity), tokens, tokens).step()


def _specialisations(gpu: FakeGPU, call: Callable[[], object]) -> set[str]:
    counts = _counts(gpu, call)
    return {launch for work in (counts.host, *counts.graphs) for launch in work.launches}


def _kernels(launches: set[str]) -> str:
    return ", ".join(sorted({launch.split('"')[1] for launch in launches}))
