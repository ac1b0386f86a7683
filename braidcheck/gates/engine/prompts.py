"""Compares prompts of more than two chunks with HF; chunk borders on and off the borders of attention's key blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from braidcheck.gates.engine.tiny import Tiny
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test import module
from braidcheck.numerics.calls import poisoned_outputs

# Chunk and prompt, in tokens. Key blocks have 64 to 256 keys; a chunk of at most 16 tokens has kernels of its own.
PROMPTS = ((128, 385), (100, 201), (64, 128), (16, 49))
NEXT = 2  # tokens decoded after a prompt
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


def prompt_checks(tiny: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of each prompt and chunk size."""
    for chunk, length in PROMPTS:
        yield f"{length} tokens in chunks of {chunk}", partial(_in_chunks, tiny, device, chunk, length)


def _in_chunks(tiny: Tiny, device: str, chunk: int, length: int) -> str | None:
    """The logits at every position of the prompt and of the decoded tokens, which fill the cache to its last slot."""
    model = module("models.engine").Engine.load(tiny.directory, device, torch.float32).model
    model.prefill_chunk, streams, ids = chunk, _kept_streams(model), tiny.document.to(device)
    with poisoned_outputs():
        cache = model.new_cache(1, length + NEXT)
        model.prefill_into_cache(ids[:length], cache)
        lengths = torch.tensor([length], device=device)
        decoder = module("models.decode").Decoder(model, cache, ids[length : length + 1], lengths)
        for place in range(length, length + NEXT):
            decoder.tokens.copy_(ids[place : place + 1])
            decoder.step()
        logits = model.logits(torch.cat(streams)).cpu()
    expected = tiny.document_logits[: length + NEXT]
    if logits.shape != expected.shape:
        return f"{len(logits)} tokens have gone through the layers, must be {len(expected)}"
    wrong = ~torch.isclose(logits, expected, **CLOSE).all(-1)
    if not wrong.any():
        return None
    first, off = int(wrong.nonzero()[0]), float((logits - expected).abs().nan_to_num(torch.inf).max())
    return f"logits of {int(wrong.sum())} tokens are not HF's, the first at {first}, off by {off:.3g}"


def _kept_streams(model: Any) -> list[torch.Tensor]:
    """A list that collects the residual stream of every forward pass from now on."""
    streams: list[torch.Tensor] = []
    forward = model.forward

    def kept(*args: Any, **options: Any) -> torch.Tensor:
        streams.append(forward(*args, **options))
        return streams[-1]

    model.forward = kept
    return streams
