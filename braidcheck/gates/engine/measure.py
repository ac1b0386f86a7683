"""Checks of the engine as a user sees it: the tiny model compared with HF, and calls that must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from braidcheck.gates.engine import parts
from braidcheck.gates.engine.constant import draw_checks, head_checks
from braidcheck.gates.engine.counts import count_checks
from braidcheck.gates.engine.generation import generation_checks, sampling_checks
from braidcheck.gates.engine.prompts import prompt_checks
from braidcheck.gates.engine.requests import request_checks
from braidcheck.gates.engine.tiny import ANSWER, PROMPT, THETA, Tiny
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import module
from braidcheck.numerics.calls import poisoned_outputs
from braidcheck.settings import PRODUCTION

FAR, NUM_POSITIONS = 2**18 + 3, 3  # positions: more than any limit in the code
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


def engine_checks(tiny: Tiny, untied: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of the engine."""
    for part in parts(tiny.architecture):
        yield from engine_part(part, tiny, untied, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """All of the engine's checks."""
    return engine_checks(trial.fixtures.tiny, trial.fixtures.untied, trial.device)


def engine_part(part: str, tiny: Tiny, untied: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """The checks of one of ``parts()``."""
    if part == "model":
        yield "table", partial(_table, tiny, device)
        yield "far positions", partial(_far_positions, tiny, device)
        yield "far ids", partial(_far_ids, tiny, device)
        yield "chunks", partial(_chunks, tiny, device)
        yield "answer", partial(_answer, tiny, device)
        yield "bfloat16", partial(_narrow, tiny, device)
        yield "untied head", partial(_prefill, untied, PRODUCTION, device)
        yield "empty cache", partial(_cache, tiny, device)
        yield "limits", partial(_limits, tiny, device)
    elif part == "sampling":
        yield from sampling_checks(tiny, partial(_engine, tiny, device))
    elif part == "generation":
        yield from generation_checks(tiny, partial(_engine, tiny, device), device)
    elif part == "prompts":
        yield from prompt_checks(tiny, device)
    elif part == "requests":
        yield from request_checks(tiny, untied, device)
    elif part == "head":
        yield from head_checks(tiny, device)
    elif part == "draws":
        yield from draw_checks(tiny, device)
    elif part == "counts":
        yield from count_checks(tiny.architecture)
    else:
        yield f"prefill {part}", partial(_prefill, tiny, part, device)
        yield f"decode {part}", partial(_decode, tiny, part, device)
        if device != "cpu":
            yield f"graphs {part}", partial(_graphs, tiny, part, device)


def _engine(tiny: Tiny, device: str, attention: str = PRODUCTION, dtype: torch.dtype = torch.float32) -> Any:
    return module("models.engine").Engine.load(tiny.directory, device, dtype, attention)


def _model(tiny: Tiny, device: str, attention: str = PRODUCTION) -> Any:
    return _engine(tiny, device, attention).model


def differs(what: str, got: torch.Tensor, expected: torch.Tensor) -> str | None:
    """A violation if ``got`` is not ``expected`` up to float32 rounding."""
    got, expected = got.float().cpu(), expected.float().cpu()
    if got.shape != expected.shape:
        return f"{what}: shape {list(got.shape)}, must be {list(expected.shape)}"
    if torch.allclose(got, expected, **CLOSE):
        return None
    return f"{what}: off by {float((got - expected).abs().max()):.3g}"


def _table(tiny: Tiny, device: str) -> str | None:
    return differs("the table of angles is not HF's", _model(tiny, device).cos_sin, tiny.table)


def _far_positions(tiny: Tiny, device: str) -> str | None:
    """A model of very many positions has the angles of all, and its chunks and steps stand at the last ones."""
    model = _model(tiny, device)
    table = type(model)(replace(model.config, max_position_embeddings=FAR), model.weights).cos_sin.cpu().double()
    if len(table) != FAR:
        return f"the table of angles of a model of {FAR} positions has {len(table)}"
    position = torch.arange(FAR - NUM_POSITIONS, FAR)
    frequencies = THETA ** -(torch.arange(0, tiny.sizes["head_dim"], 2).double() / tiny.sizes["head_dim"])
    angles = position[:, None] * frequencies
    bound = (angles + 1) * 2.0**-22  # frequency and angle, cosine and sine are rounded to float32
    errors = (table[-NUM_POSITIONS:] - torch.cat([angles.cos(), angles.sin()], dim=1)).abs() / bound.repeat(1, 2)
    if not errors.max() <= 1:
        return f"angles at the last of {FAR} positions are off by {float(errors.max()):.3g} times their bound"
    metadata = module("models.metadata").AttentionMetadata
    chunk, step = metadata.prefill(NUM_POSITIONS, device, FAR - NUM_POSITIONS), metadata.decode(position.to(device))
    if chunk.positions.tolist() != position.tolist() or chunk.lengths.tolist() != [FAR]:
        return f"a chunk from position {FAR - NUM_POSITIONS} on stands at {chunk.positions.tolist()}"
    return None if step.lengths.tolist() == (position + 1).tolist() else f"a step at {FAR - 1} sees other lengths"


def _far_ids(tiny: Tiny, device: str) -> str | None:
    """The last ids of a very large vocabulary have their own embeddings, whatever the number of tokens."""
    model = _model(tiny, device)
    model.weights = replace(model.weights, embedding=torch.arange(FAR, device=device, dtype=torch.float32)[:, None])
    for count in (1, 2, 16, 17):
        ids = torch.arange(FAR - count, FAR, device=device)
        if (found := model.embedding(ids).flatten()).tolist() != ids.tolist():
            return f"ids from {FAR - count} on have the embeddings of {found.long().tolist()}"
    return None


def _prefill(tiny: Tiny, attention: str, device: str) -> str | None:
    with poisoned_outputs():
        logits = _model(tiny, device, attention).forward_logits(tiny.ids)
    return differs("logits are not HF float32's", logits, tiny.logits)


def _decode(tiny: Tiny, attention: str, device: str) -> str | None:
    """Ragged rows, each with its own context, against HF's logits at their positions."""
    model, lengths = _model(tiny, device, attention), [5, 1, 27]
    metadata, ids = module("models.metadata").AttentionMetadata, tiny.ids.to(device)
    with poisoned_outputs():
        cache = model.new_cache(3, 40)
        for row, length in enumerate(lengths):
            one = model.new_cache(1, 40)
            if length > 1:
                model.forward(ids[: length - 1], metadata.prefill(length - 1, device), one)
            for whole, part in zip((*cache.k, *cache.v), (*one.k, *one.v), strict=True):
                whole[row] = part[0]
        last = torch.tensor(lengths, device=device) - 1
        h = model.forward(ids[last], metadata.decode(last), cache)
        violation = differs("a decoded row is not HF float32's", model.logits(h), tiny.logits[last.cpu()])
        best = model.next_tokens(h).cpu()
    if violation is None and not torch.equal(best, tiny.logits[last.cpu()].argmax(-1)):
        violation = "the next tokens are not the best ones"
    return violation


def _graphs(tiny: Tiny, attention: str, device: str) -> str | None:
    """CUDA graphs do not change answers, for one row and several, greedy and sampled."""
    model_sampling = module("models.sampling").Sampling
    engine, prompts = _engine(tiny, device, attention), [tiny.document[:length].tolist() for length in (40, 1, 17)]
    for sampling in (model_sampling(), model_sampling(1.5, 40, 0.9, seed=2**31 - 1)):
        for batch in (prompts, prompts[:1]):
            answers = []
            for engine.model.use_cuda_graph in (True, False):
                answers.append(engine.generate(batch, 21, sampling))
            if answers[0] != answers[1]:
                return f"{len(batch)} rows are answered {answers[0]} with CUDA graphs, {answers[1]} without"
    return None


def _chunks(tiny: Tiny, device: str) -> str | None:
    model, ids = _model(tiny, device), tiny.ids.to(device)
    metadata = module("models.metadata").AttentionMetadata
    cache = model.new_cache(1, len(ids))
    first = model.forward(ids[:8], metadata.prefill(8, device), cache)
    second = model.forward(ids[8:], metadata.prefill(len(ids) - 8, device, start=8), cache)
    return differs("a prefill in chunks is not HF's", model.logits(torch.cat([first, second])), tiny.logits)


def _answer(tiny: Tiny, device: str) -> str | None:
    answer = _engine(tiny, device).generate(tiny.ids[:PROMPT], ANSWER)
    return None if answer == tiny.answer else f"greedy tokens are {answer}, HF's {tiny.answer}"


def _narrow(tiny: Tiny, device: str) -> str | None:
    model = _engine(tiny, device, dtype=torch.bfloat16).model
    logits, truth = model.forward_logits(tiny.ids).cpu(), tiny.logits
    if logits.dtype != torch.float32 or model.weights.embedding.dtype != torch.bfloat16:
        return f"logits are {logits.dtype}, weights {model.weights.embedding.dtype}"
    ratio = float((logits - truth).norm() / (tiny.floor - truth).norm())
    return None if ratio <= 1.5 else f"bfloat16 is {ratio:.2f}x as far from HF float32 as HF bfloat16"


def _cache(tiny: Tiny, device: str) -> str | None:
    cache = _model(tiny, device).new_cache(2, 5)
    heads = tiny.sizes["num_key_value_heads"], tiny.sizes["head_dim"]
    if any(part.shape != (2, 5, *heads) or not part.isnan().all() for part in (*cache.k, *cache.v)):
        return "an empty cache is not full of NaN: a stale read would not show"
    return None if len({part.data_ptr() for part in (*cache.k, *cache.v)}) == 4 else "layers share a cache"


def _limits(tiny: Tiny, device: str) -> str | None:
    engine, errors = _engine(tiny, device), module("errors")
    decoder = module("models.decode").Decoder
    newest, seq_lens = tiny.ids[:1].to(device), torch.tensor([5], device=device)
    longest = tiny.ids.repeat(tiny.sizes["max_position_embeddings"])[: tiny.sizes["max_position_embeddings"]]
    calls: tuple[tuple[str, Callable[[], object]], ...] = (
        ("more tokens than positions", lambda: engine.generate(longest, 1)),
        (
            "more tokens than the cache holds",
            lambda: decoder(engine.model, engine.model.new_cache(1, 8), newest, seq_lens).run(4),
        ),
        ("an empty prompt", lambda: engine.generate(tiny.ids[:0], 3)),
        (
            "an unknown attention",
            lambda: module("models.engine").Engine.load(tiny.directory, device, attention="no"),
        ),
    )
    for what, call in calls:
        try:
            call()
        except errors.UserError:
            continue
        return f"{what}: not refused"
    return None
