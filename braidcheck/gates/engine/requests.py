"""Many requests to one engine: each answer must be bit-identical to that of a fresh engine.

Requests are drawn with a seed: greedy and sampled answers, batches, stop tokens, streams that are read to the end,
dropped, or interleaved with other requests, on two engines with different weights at once. On a CPU most use the ops'
references, a hundred times as fast as the interpreter: these checks are about the engine's own state. A few use the
kernels.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any
from unittest.mock import patch

import torch

from braidcheck.gates.engine.tiny import PROMPT, Tiny
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test import module

CHUNK = 32  # tokens of a prefill chunk in these checks
LENGTHS = (1, 5, 31, 32, 33, 63, 64, 65, 97, 140)  # prompt lengths around chunk borders
KINDS = ("greedy", "sampled", "batch", "stop", "stream", "dropped", "held", "logits")
SAMPLINGS = ((2.0, 40, 0.95), (4.0, 40, 0.95), (2.0, 12, 0.95), (2.0, 40, 0.5))  # each setting varied alone
STREAM = 17  # tokens: three chunks of a stream
BASE_SAMPLING = (4.0, 40, 0.95, 5)  # temperature, top-k, top-p and seed
# Each setting changed alone; the stop token is given by its place in the answer.
CHANGED_SETTINGS: dict[str, Any] = {"stop": 3, "temperature": 1.0, "top_k": 3, "top_p": 0.3, "seed": 6}
NUM_TOKENS = 6  # of the prompt and of the answer of these requests


@dataclass(frozen=True)
class Request:
    """One request of one of ``KINDS``: prompts, number of tokens, and sampling."""

    kind: str
    prompts: tuple[tuple[int, ...], ...]
    count: int
    sampling: tuple[float, int, float, int]
    stop: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} of {self.count} tokens after {[len(prompt) for prompt in self.prompts]}"


def request_checks(tiny: Tiny, untied: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of many requests."""
    yield "requests in turn", partial(_in_turn, (tiny, untied), device, 60, device != "cpu")
    yield "requests to the kernels", partial(_in_turn, (tiny, untied), device, 3, True)
    yield "one setting apart", partial(_one_setting_apart, tiny, device)
    yield "two models at once", partial(_two_models, (tiny, untied), device)
    yield "two streams at once", partial(_two_streams, tiny, device)
    yield "decoders in use", partial(_decoders_in_use, tiny, device)
    yield "long, then short", partial(_long_then_short, tiny, device)
    yield "stops at borders", partial(_stops, tiny, device)
    yield "all positions", partial(_all_positions, tiny, device)


def _engine(tiny: Tiny, device: str, kernels: bool) -> Any:
    """A fresh engine in float32."""
    ops = module("models.ops")
    table = ops.KERNELS if kernels else ops.REFERENCES
    engine = module("models.engine").Engine.load(tiny.directory, device, torch.float32, ops=table)
    engine.model.prefill_chunk = CHUNK
    return engine


def _drawn(draw: random.Random, vocabulary: int, few: bool) -> Request:
    kind = draw.choice(KINDS)
    rows = draw.choice((2,) if few else (2, 3, 5)) if kind == "batch" else 1
    lengths = [draw.choice((1, 5, 33) if few else LENGTHS) for _ in range(rows)]
    prompts = tuple(tuple(draw.randrange(vocabulary) for _ in range(length)) for length in lengths)
    warm = kind in ("sampled", "stop", "held") or (kind in ("batch", "stream", "dropped") and draw.random() < 0.5)
    sampling = (*draw.choice(SAMPLINGS), draw.randrange(2**31)) if warm else (0.0, 0, 1.0, 0)
    count = draw.choice((1, 3) if few else (1, 4, 9, STREAM))
    stop = tuple(draw.sample(range(vocabulary), vocabulary // 5)) if kind == "stop" else ()
    return Request(kind, prompts, count, sampling, stop)


def _answer(engine: Any, request: Request) -> Any:
    """The engine's answer: tokens, a stream's iterator, or logits."""
    sampling = module("models.sampling").Sampling(*request.sampling)
    prompts = [list(prompt) for prompt in request.prompts]
    if request.kind == "logits":
        return engine.forward_logits(torch.tensor(prompts[0])).cpu()
    if request.kind in ("stream", "dropped", "held"):
        return engine.stream(prompts[0], request.count, sampling, request.stop)
    return engine.generate(prompts, request.count, sampling, request.stop)


def _in_turn(tinies: Sequence[Tiny], device: str, count: int, kernels: bool) -> str | None:
    draw = random.Random(12)
    engines = [_engine(tiny, device, kernels) for tiny in tinies]
    held: list[tuple[Request, int, Any, list[int]]] = []
    for number in range(count):
        which = draw.randrange(len(engines))
        request = _drawn(draw, tinies[which].sizes["vocab_size"], kernels and device == "cpu")
        actual, expected = (
            _answer(engine, request) for engine in (engines[which], _engine(tinies[which], device, kernels))
        )
        if request.kind == "held":
            held.append((request, which, actual, list(expected)))
            continue
        if request.kind == "dropped":
            actual, expected = (list(islice(answer, 1 + request.count // 2)) for answer in (actual, expected))
        elif request.kind == "stream":
            actual, expected = list(actual), list(expected)
        if not (torch.equal(actual, expected) if request.kind == "logits" else actual == expected):
            return f"request {number} ({request}) gives {_short(actual)}, a fresh engine gives {_short(expected)}"
    for request, _, stream, expected in held:
        if (tokens := list(stream)) != expected:
            return f"{request}, resumed after other requests, gives {tokens}, a fresh engine gives {expected}"
    return None


def _one_setting_apart(tiny: Tiny, device: str) -> str | None:
    """A request that differs from the one before it in one setting is answered as by a fresh engine."""
    sampling, prompt = module("models.sampling").Sampling, tiny.document[:NUM_TOKENS].tolist()
    base = sampling(*BASE_SAMPLING)

    def answer(engine: Any, settings: Any, stop: tuple[int, ...]) -> list[int]:
        return engine.generate(prompt, NUM_TOKENS, settings, stop)

    def fresh(*request: Any) -> list[int]:
        return answer(_engine(tiny, device, device != "cpu"), *request)

    usual, engine = fresh(base, ()), _engine(tiny, device, device != "cpu")
    for name, other in CHANGED_SETTINGS.items():
        changed = (base, (usual[other],)) if name == "stop" else (replace(base, **{name: other}), ())
        expected = fresh(*changed)
        if expected == usual:
            return f"{name} {other} changes nothing: {usual}"
        for request, right in ((changed, expected), ((base, ()), usual)):
            if (tokens := answer(engine, *request)) != right:
                return f"next to a request of another {name} one gives {tokens}, a fresh engine gives {right}"
    return None


def _short(answer: Any) -> str:
    return f"logits around {float(answer.mean()):.6g}" if isinstance(answer, torch.Tensor) else str(answer)[:60]


def _two_models(tinies: Sequence[Tiny], device: str) -> str | None:
    """Each of two models of the same sizes that are loaded at once gives the logits of its own weights, HF's."""
    engines = [_engine(tiny, device, device != "cpu") for tiny in tinies]
    for _ in range(2):
        for number, (tiny, engine) in enumerate(zip(tinies, engines, strict=True)):
            logits = engine.forward_logits(tiny.ids).cpu()
            if not torch.allclose(logits, tiny.logits, rtol=2e-4, atol=2e-4):
                return f"model {number} of two gives logits off by {float((logits - tiny.logits).abs().max()):.3g}"
    return None


def _two_streams(tiny: Tiny, device: str) -> str | None:
    """Two streams of one engine, read alternately with batches in between, each give what they give alone."""
    engine, sampling = _engine(tiny, device, device != "cpu"), module("models.sampling").Sampling(2.0, seed=5)
    prompts = [tiny.document[start : start + 40].tolist() for start in (0, 40)]
    alone = [engine.generate(prompt, STREAM, sampling) for prompt in prompts]
    streams = [engine.stream(prompt, STREAM, sampling) for prompt in prompts]
    answers: list[list[int]] = [[], []]
    for _ in range(STREAM):
        for tokens, stream in zip(answers, streams, strict=True):
            tokens.append(next(stream))
        engine.generate([prompts[0][:7]] * 2, 2)
    return None if answers == alone else f"streams in turns are {answers}, alone {alone}"


def _decoders_in_use(tiny: Tiny, device: str) -> str | None:
    """A decoder is released for other requests only after it has decoded its own: otherwise threads would share it."""
    engine, decoder = _engine(tiny, device, device != "cpu"), module("models.decode").Decoder
    run, shared = decoder.run, []

    def watched(self: Any, count: int) -> Any:
        shared.append(any(kept is self for kept in engine.decoders.kept))
        return run(self, count)

    prompt = tiny.document[:PROMPT].tolist()
    with patch.object(decoder, "run", watched):
        for _ in range(2):  # the second request takes what the first one left
            engine.generate(prompt, STREAM)
            list(engine.stream(prompt, STREAM))
    return "a decoder is released for other requests before it has decoded its own" if any(shared) else None


def _long_then_short(tiny: Tiny, device: str) -> str | None:
    """A shorter prompt after a longer one: the cache past its end is empty, and its logits are a fresh engine's."""
    engine, fresh = _engine(tiny, device, device != "cpu"), _engine(tiny, device, device != "cpu")
    engine.generate(tiny.document[:150], 4)
    ids = tiny.document[200:237].to(device)
    caches = [one.model.new_cache(1, 150) for one in (engine, fresh)]
    pairs = zip((engine, fresh), caches, strict=True)
    logits = [one.model.logits(one.model.prefill_into_cache(ids, cache)) for one, cache in pairs]
    if not torch.equal(*logits):
        return f"after a longer prompt logits are off by {float((logits[0] - logits[1]).abs().max()):.3g}"
    left = sum(int((~part[:, len(ids) :].isnan()).sum()) for part in (*caches[0].k, *caches[0].v))
    if left:
        return f"{left} numbers of a longer prompt are left in the cache past a shorter one"
    return _left_in_kept_decoder(engine, tiny)


def _left_in_kept_decoder(engine: Any, tiny: Tiny) -> str | None:
    """Rows of a longer request, then of a shorter one that takes over its decoder."""
    for lengths in ((150, 130), (140, 120)):
        engine.generate([tiny.document[:length].tolist() for length in lengths], NUM_TOKENS)
    if len(kept := engine.decoders.kept) != 2:  # of one row, and of two
        return "no decoder is kept for a request like an earlier one"
    ends = [(row, length + NUM_TOKENS) for row, length in enumerate(lengths)]
    left = sum(int((~part[:, row, end:].isnan()).sum()) for part in kept[-1].cache.parts for row, end in ends)
    return f"{left} numbers of an earlier request are left in a kept decoder's cache" if left else None


def _stops(tiny: Tiny, device: str) -> str | None:
    """Stop tokens on both sides of stream chunks and graph borders, and a stop token that never occurs."""
    engine, prompt = _engine(tiny, device, device != "cpu"), tiny.document[:PROMPT].tolist()
    sampling = module("models.sampling").Sampling(8.0, seed=1)
    whole = engine.generate(prompt, 2 * STREAM, sampling)
    for place in (0, 1, 7, 8, 9, 16, 17, 32, 33):
        stop = (whole[place], tiny.sizes["vocab_size"] + 7)
        expected = whole[: whole.index(whole[place]) + 1]
        for what, answer in (
            ("an answer", engine.generate(prompt, 2 * STREAM, sampling, stop)),
            ("a stream", list(engine.stream(prompt, 2 * STREAM, sampling, stop))),
        ):
            if answer != expected:
                return f"{what} up to its token {place} is {answer}, must be {expected}"
    unstopped = engine.generate(prompt, 2 * STREAM, sampling, (tiny.sizes["vocab_size"] + 7,))
    return None if unstopped == whole else f"an answer without its stop token is {unstopped}, must be {whole}"


def _all_positions(tiny: Tiny, device: str) -> str | None:
    """An answer up to the last position follows HF's logits; one more token is refused."""
    engine, error = _engine(tiny, device, device != "cpu"), module("errors").UserError
    positions, count = tiny.sizes["max_position_embeddings"], STREAM
    prompt = tiny.document.repeat(2)[: positions - count].tolist()
    answer = engine.generate(prompt, count)
    logits = engine.forward_logits(torch.tensor(prompt + answer))[len(prompt) - 1 : -1]
    expected = logits.argmax(-1).tolist()
    if answer != expected:
        return f"up to the last position an answer is {answer}, must be {expected}"
    if list(engine.stream(prompt, count)) != answer:
        return "up to the last position a stream is not the answer"
    try:
        engine.generate(prompt, count + 1)
    except error:
        return None
    return f"{positions + 1} tokens are not refused"
