"""Checks of answers: batches, sampling, stop tokens, streams, chunks, and insufficient memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from braidcheck.gates.engine.tiny import ANSWER, PROMPT, Tiny
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test import module
from braidcheck.numerics.sampling import kept, uniform

LENGTHS = (PROMPT, 1, 20)
WARM = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": 1}
OTHER_SEEDS = 0, 2, 1 + 2**24  # than WARM's: none set, the next, another one's low bits
MANY_STOPS = 70  # stop tokens that no model gives
SHORT = 5  # tokens: few enough to be gathered, ``models.model.MAX_GATHERED_TOKENS``
LONG = 10  # tokens: more than a stream decodes at once
# In probability, of the uniform number from where the token changes: more than float32's rounding moves it.
MIN_DISTANCE_TO_EDGE = 2e-3


def sampling_checks(tiny: Tiny, engine: Callable[[], Any]) -> Iterator[tuple[str, Check]]:
    """Names and checks of sampled tokens; ``engine`` makes one of the tiny model in float32."""
    yield "drawn", partial(_drawn, tiny, engine)
    yield "noise", partial(_noise, tiny, engine)
    yield "drawn on", partial(_drawn_on, tiny, engine)


def generation_checks(tiny: Tiny, engine: Callable[[], Any], device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of whole answers; ``engine`` makes one of the tiny model in float32."""
    yield "rows", partial(_rows, tiny, engine)
    yield "forms of a request", partial(_forms, tiny, engine)
    yield "stop", partial(_stop, tiny, engine)
    yield "stopped rows", partial(_stopped, tiny, engine, device)
    yield "stream", partial(_stream, tiny, engine)
    yield "prompt in chunks", partial(_chunks, tiny, engine, device)
    yield "room", partial(_room, tiny, engine, device)
    yield "what cannot be answered", partial(_refused, tiny, engine)


def _sampling(**changed: Any) -> Any:
    return module("models.sampling").Sampling(**{**WARM, **changed})


def _prompts(tiny: Tiny) -> list[list[int]]:
    return [tiny.ids[:length].tolist() for length in LENGTHS]


def _rows(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    engine, prompts = make(), _prompts(tiny)
    together = engine.generate(prompts, ANSWER)
    alone = [tiny.answer, *(engine.generate(prompt, ANSWER) for prompt in prompts[1:])]
    return None if together == alone else f"prompts are answered {together} together, {alone} alone or by HF"


def _forms(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    """A prompt as a list and as a tensor of either integer type, and requests for no token."""
    engine, prompt = make(), tiny.ids[:SHORT].tolist()
    expected = engine.generate(prompt, 1)
    for form in (torch.tensor(prompt), torch.tensor(prompt, dtype=torch.int32)):
        if (tokens := engine.generate(form, 1)) != expected:
            return f"a prompt of {form.dtype} gives {tokens}, as a list {expected}"
    tokens = engine.generate([prompt], 0)
    return None if tokens == [[]] else f"a request for 0 tokens gives {tokens}"


def _drawn(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    """The first tokens, compared with those from HF's logits and the same noise wherever these are certain."""
    engine, prompts = make(), [tiny.ids[:length].tolist() for length in range(4, 28, 3)]
    evaluated = 0
    warm: Mapping[str, Any] = WARM
    for options in ({}, {"top_k": 5, "top_p": 1.0}, {"temperature": 1.5, "top_k": 0, "seed": 7}):
        chosen = {**warm, **options}
        tokens = [row[0] for row in engine.generate(prompts, 1, _sampling(**options))]
        for row, (prompt, token) in enumerate(zip(prompts, tokens, strict=True)):
            weights = kept(tiny.logits[len(prompt) - 1, None].double(), *(chosen[name] for name in list(WARM)[:3]))[0]
            ends = (weights / weights.sum()).cumsum(0)
            noise = uniform(torch.tensor([(chosen["seed"] << 32) + row]), torch.tensor([len(prompt)]))
            if (ends - noise).abs().min() < MIN_DISTANCE_TO_EDGE:
                continue
            evaluated += 1
            if token != int((ends <= noise).sum()):
                return f"with {chosen} row {row} draws {token}, HF's probabilities give {int((ends <= noise).sum())}"
    return None if evaluated > 12 else f"only {evaluated} draws were sure"


def _noise(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    engine, prompts = make(), [tiny.ids[:PROMPT].tolist()] * 3
    hot = _sampling(temperature=3.0, top_k=0, top_p=1.0)
    answers = engine.generate(prompts, 3, hot)
    if len({tuple(answer) for answer in answers}) < 3:
        return f"the same prompt is answered {answers} in three rows: they share their random numbers"
    if engine.generate(prompts, 3, hot) != answers:
        return "the same call gives other tokens"
    if engine.generate(prompts[0], 3, hot) != answers[0]:
        return "the first row's tokens change with its neighbours"
    for seed in OTHER_SEEDS:
        if engine.generate(prompts[0], 3, replace(hot, seed=seed)) == answers[0]:
            return f"seeds {hot.seed} and {seed} give the same tokens"
    return None


def _drawn_on(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    """Each token of an answer is the first token of the answer to all tokens before it."""
    engine, prompt, sampling = make(), tiny.ids[:PROMPT].tolist(), _sampling(temperature=1.5)
    answer = engine.generate(prompt, ANSWER, sampling)
    for place in range(1, ANSWER):
        (token,) = engine.generate(prompt + answer[:place], 1, sampling)
        if token != answer[place]:
            return f"token {place} of an answer is {answer[place]}, {token} when the ones before are the prompt's"
    return None


def _stop(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    engine, prompts = make(), _prompts(tiny)
    plain = engine.generate(prompts, ANSWER)
    for place in (0, 2):
        stop = (tiny.sizes["vocab_size"] - 1, tiny.answer[place])
        expected = [_until(answer, stop) for answer in plain]
        answers = engine.generate(prompts, ANSWER, stop=stop)
        if answers != expected or answers[0] != tiny.answer[: place + 1]:
            return f"answers up to {stop} are {answers}, must be {expected}"
    return None


def _until(tokens: Sequence[int], stop: Sequence[int]) -> list[int]:
    kept_tokens = []
    for token in tokens:
        kept_tokens.append(token)
        if token in stop:
            break
    return kept_tokens


def _stopped(tiny: Tiny, make: Callable[[], Any], device: str) -> str | None:
    """Steps after a row has stopped: it repeats its token and takes no more cache, the other row continues."""
    engine, prompts = make(), [tiny.ids[:PROMPT], tiny.ids[:20]]
    plain = engine.generate(prompts, ANSWER)
    cache, rows = engine.model.new_cache(2, 40), [prompt.to(device) for prompt in prompts]
    h = torch.cat([engine.model.prefill_into_cache(row, cache.row(number)) for number, row in enumerate(rows)])
    seq_lens = torch.tensor([PROMPT, 20], device=device)
    stop = plain[0][1]
    if stop == plain[0][0] or stop in plain[1]:
        return f"token {stop} cannot tell one row's end: {plain}"
    decoder = partial(module("models.decode").Decoder, engine.model, cache, engine.model.next_tokens(h), seq_lens)
    if decoder(stop=(plain[0][0],)).run(1).tolist()[0] != [plain[0][0]]:
        return "a row whose first token stops it goes on"
    others = tuple(range(tiny.sizes["vocab_size"], tiny.sizes["vocab_size"] + MANY_STOPS))
    decoder = decoder(stop=(*others, stop, tiny.sizes["vocab_size"] - 1, stop, *others))
    found = torch.cat([decoder.run(3), decoder.run(1)], dim=1).tolist()
    expected = [[stop] * 4, plain[1][1:]]
    if found != expected:
        return f"steps of a stopped row and another give {found}, must be {expected}"
    if decoder.seq_lens.tolist() != [PROMPT + 1, 24]:
        return f"then {decoder.seq_lens.tolist()} slots are filled, must be {[PROMPT + 1, 24]}"
    return None


def _stream(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    engine, prompt = make(), tiny.ids[:PROMPT].tolist()
    whole = engine.generate(prompt, LONG)
    for count, stop in ((LONG, ()), (1, ()), (0, ()), (LONG, whole[3:4]), (LONG, whole[:1])):
        tokens, expected = list(engine.stream(prompt, count, stop=stop)), _until(whole[:count], stop)
        if tokens != expected:
            return f"a stream of {count} tokens up to {stop} is {tokens}, must be {expected}"
    return None


def _chunks(tiny: Tiny, make: Callable[[], Any], device: str) -> str | None:
    model = make().model
    for model.prefill_chunk in (4, len(tiny.ids) // 2, len(tiny.ids)):
        h = model.prefill_into_cache(tiny.ids.to(device), model.new_cache(1, len(tiny.ids)))
        logits = model.logits(h).cpu()
        if not torch.allclose(logits, tiny.logits[-1:], rtol=2e-4, atol=2e-4):
            return f"a prompt in chunks of {model.prefill_chunk} does not end in HF's logits"
    return None


def _room(tiny: Tiny, make: Callable[[], Any], device: str) -> str | None:
    memory, error = module("models.memory"), module("errors").UserError
    engine, free_bytes = make(), memory.free_bytes
    cache, weights = engine.model.new_cache(3, 50), engine.model.weights
    dtype = cache.k[0].dtype
    taken = sum(part.nbytes for part in (*cache.k, *cache.v))
    if memory.kv_cache_bytes(engine.model.config, 3, 50, dtype) != taken:
        return f"a cache of {taken} bytes is said to need {memory.kv_cache_bytes(engine.model.config, 3, 50, dtype)}"
    held = sum(part.nbytes for layer in weights.layers for part in vars(layer).values()) + weights.embedding.nbytes
    needed = memory.weight_bytes(engine.model.config.tensor_shapes(), dtype)
    if not held <= needed <= 2 * held:
        return f"weights of {held} bytes are said to need {needed}"
    calls = (lambda: engine.model.new_cache(3, 50), make, lambda: engine.forward_logits(tiny.ids))
    try:
        for free, refused in ((taken // 2, True), (1 << 40, False)):
            memory.free_bytes = lambda device, free=free: free
            for number, call in enumerate(calls):
                if _raises(call, error) != refused:
                    return f"with {free} bytes free call {number} is {'not ' * refused}refused"
    finally:
        memory.free_bytes = free_bytes
    return None


def _refused(tiny: Tiny, make: Callable[[], Any]) -> str | None:
    engine, error = make(), module("errors").UserError
    for what, call in (
        ("a token past the vocabulary", lambda: engine.generate([3, tiny.sizes["vocab_size"]], 1)),
        ("a token below 0", lambda: engine.generate([[3], [5, -1]], 1)),
        ("an empty prompt among others", lambda: engine.generate([[3], []], 1)),
        ("no prompt at all", lambda: engine.generate([], 1)),
        ("a tensor of no prompts", lambda: engine.generate(tiny.ids[:0, None], 1)),
        ("ids that are no integers", lambda: engine.generate(tiny.ids[:3] + 0.5, 1)),
        ("fewer than no tokens", lambda: engine.generate([3], -1)),
        ("a stream of an empty prompt", lambda: engine.stream([], 1)),
        ("a temperature below 0", lambda: _sampling(temperature=-1.0)),
        ("a subnormal temperature", lambda: _sampling(temperature=1e-38)),
        ("a temperature past float32", lambda: _sampling(temperature=1e300)),
        ("top-k below 0", lambda: _sampling(top_k=-1)),
        ("top-k of no integer", lambda: _sampling(top_k=5.0)),
        ("top-p of 0", lambda: _sampling(top_p=0.0)),
        ("a subnormal top-p", lambda: _sampling(top_p=1e-38)),
        ("top-p above 1", lambda: _sampling(top_p=1.1)),
        ("a seed of more than 31 bits", lambda: _sampling(seed=2**31)),
        ("top-k without a temperature", lambda: _sampling(temperature=0.0)),
    ):
        if not _raises(call, error):
            return f"{what}: not refused"
    return None


def _raises(call: Callable[[], Any], error: type[Exception]) -> bool:
    try:
        call()
    except error:
        return True
    return False
