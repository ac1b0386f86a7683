"""Tokens per second of the engine and HF transformers, from one process, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import Tensor

from braidcheck.benchmarks.events import Rate, gpu_seconds
from braidcheck.benchmarks.roofline import copy_bandwidth
from braidcheck.gates.layers.measure import SEED, hf_model
from braidcheck.models.decode import Decoder
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.qwen3.architecture import QWEN3_0_6B, Qwen3Config
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights

PROMPT, NEW_TOKENS, SAMPLES = 512, 64, 5


class Median(TypedDict):
    """A rate whose spread is not known."""

    median: float


class Evidence(TypedDict):
    """tok/s of decode and prefill for the engine and HF, and the bandwidth roofline."""

    device: str
    copy_bandwidth: float
    read_bytes: int
    prompt: int
    decode: Rate
    hf_decode: Median
    prefill: Rate
    hf_prefill: Rate


def models(config: Qwen3Config, device: str) -> tuple[Qwen3Model, Any]:
    """The engine and HF's model with SDPA, both with the same seeded bfloat16 weights."""
    tensors = synthetic_tensors(config, SEED, device)
    model = Qwen3Model(config, Weights.from_tensors(tensors, config, torch.bfloat16))
    return model, hf_with_sdpa(config, tensors, torch.bfloat16, device)


def hf_with_sdpa(config: Qwen3Config, tensors: dict[str, Tensor], dtype: torch.dtype, device: str) -> Any:
    """HF's model of these weights, as ``hf_model`` makes it, with SDPA for its attention."""
    hf = hf_model(config, tensors, dtype, device)
    hf.set_attn_implementation("sdpa")
    return hf


def prompt_of(count: int, config: Qwen3Config, device: str) -> Tensor:
    """Seeded random ids int64 [count]."""
    return torch.randint(0, config.vocab_size, (count,), generator=torch.Generator().manual_seed(11)).to(device)


def hf_prefilled(hf: Any, ids: Tensor) -> Tensor:
    """HF's logits [1,V] after the prompt ids [T]; fills HF's cache."""
    return hf(ids[None], use_cache=True, logits_to_keep=1).logits[0]


def measure_speed(
    device: str, progress: Callable[[str], None] = lambda text: None, config: Qwen3Config = QWEN3_0_6B
) -> Evidence:
    """tok/s of decode (batch 1, after a prompt) and of prefill, engine's and HF generate's, with spread.

    Weights are seeded, with the config's shapes. HF runs greedy ``generate`` with its dynamic cache and SDPA in
    bfloat16, the common setup.
    """
    model, hf = models(config, device)
    ids = prompt_of(PROMPT, config, device)
    with torch.inference_mode():
        cache = model.new_cache(1, PROMPT + NEW_TOKENS * (SAMPLES + 2))
        prompt = AttentionMetadata.prefill(PROMPT, device)
        h = model.forward(ids, prompt, cache)
        decoder = Decoder(model, cache, model.next_tokens(h[-1:]), torch.tensor([PROMPT], device=device))

        def generate(count: int) -> Tensor:
            options = {"do_sample": False, "min_new_tokens": count, "max_new_tokens": count, "pad_token_id": 0}
            return hf.generate(ids[None], attention_mask=torch.ones_like(ids[None]), **options)

        progress("timing decode next to HF generate")
        decode_seconds, longer, shorter = gpu_seconds(
            lambda: decoder.run(NEW_TOKENS), lambda: generate(NEW_TOKENS + 1), lambda: generate(1), count=SAMPLES
        )
        progress("decode timed, now prefill")
        prefill, hf_prefill = gpu_seconds(
            lambda: model.logits(model.forward(ids, prompt, cache)[-1:]),
            lambda: hf_prefilled(hf, ids),
            count=SAMPLES,
        )
    return {
        "device": torch.cuda.get_device_name(),
        "copy_bandwidth": copy_bandwidth(device),
        "read_bytes": read_bytes(model.weights),
        "prompt": PROMPT,
        "decode": decode_seconds.rate(NEW_TOKENS),
        "hf_decode": {"median": NEW_TOKENS / (longer.median - shorter.median)},
        "prefill": prefill.rate(PROMPT),
        "hf_prefill": hf_prefill.rate(PROMPT),
    }


def read_bytes(weights: Weights) -> int:
    """Weight bytes that decoding one token reads: all layers, the last norm and the head."""
    layers = sum(tensor.nbytes for layer in weights.layers for tensor in vars(layer).values())
    return layers + weights.norm.nbytes + weights.head.nbytes
