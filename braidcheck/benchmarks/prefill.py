"""Prefill of the whole model: tokens per second of braidcheck and HF in interleaved rounds, with the measured GEMM
peak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor

from braidcheck.benchmarks import BRAIDCHECK
from braidcheck.benchmarks.answers import Answer, mismatch
from braidcheck.benchmarks.attempt import first_line
from braidcheck.benchmarks.decode import SAMPLES, name_of
from braidcheck.benchmarks.events import Rate, gpu_seconds
from braidcheck.benchmarks.roofline import gemm_peak
from braidcheck.benchmarks.speed import hf_prefilled, hf_with_sdpa, models, prompt_of
from braidcheck.gates.layers.measure import SEED
from braidcheck.golden.hf import exact_matmul
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.prefill_graph import PrefillGraph
from braidcheck.models.qwen3.architecture import QWEN3_0_6B, Qwen3Config
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors

TOKENS = (512, 4096)
SERIAL = f"{BRAIDCHECK}, launch by launch"
HF = "HF transformers"


class SubjectRate(TypedDict, total=False):
    """A subject's rate in tok/s and its fraction of the GEMM peak; or why there is none."""

    rate: Rate
    of_gemm_peak: float
    refused: str
    skipped: str


class _Place(TypedDict):
    tokens: int
    subject: str


class Row(_Place, SubjectRate):
    """A subject's rate for a prompt of so many tokens."""


class Evidence(TypedDict):
    """One row per prompt length and subject."""

    device: str
    gemm_peak: float
    samples: int
    rows: list[Row]


def flops(config: Qwen3Config, tokens: int) -> int:
    """Floating-point operations of a prefill with logits for its last token: products and causal attention."""
    (heads, _, dim), width = config.heads, config.hidden_size
    matrices = config.qkv_rows * width + heads * dim * width + 3 * config.intermediate_size * width
    scores = heads * dim * tokens * (tokens + 1) // 2
    return config.num_hidden_layers * (2 * tokens * matrices + 4 * scores) + 2 * config.vocab_size * width


def measure_prefill(
    counts: Sequence[int],
    device: str,
    with_baselines: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    config: Qwen3Config = QWEN3_0_6B,
) -> Evidence:
    """One row per prompt length and subject: ``rate`` in tok/s with spread and its fraction of the GEMM peak, or why
    there is none. Weights are seeded; HF runs in bfloat16 with SDPA. The check compares the logits after the last
    token.
    """
    progress("measuring the GEMM peak")
    limit = gemm_peak(device)
    progress("making the models")
    model, hf = models(config, device)
    exact = hf_with_sdpa(config, synthetic_tensors(config, SEED, device), torch.float32, device)
    rows: list[Row] = []
    for count in counts:
        progress(f"{count} tokens")
        ids = prompt_of(count, config, device)
        calls: dict[str, Callable[[], Tensor]] = {BRAIDCHECK: _recorded(model, ids), SERIAL: _serial(model, ids)}
        if with_baselines:
            calls[HF] = partial(hf_prefilled, hf, ids)
        with torch.no_grad():
            with exact_matmul():
                truth = _answer(partial(hf_prefilled, exact, ids))
            floor = _answer(partial(hf_prefilled, hf, ids))
            for name, found in _timed(calls, truth, floor, count).items():
                if "rate" in found:
                    found["of_gemm_peak"] = found["rate"]["median"] / count * flops(config, count) / limit
                rows.append({"tokens": count, "subject": name, **found})
    return {"device": name_of(device), "gemm_peak": limit, "samples": SAMPLES, "rows": rows}


def _recorded(model: Qwen3Model, ids: Tensor) -> Callable[[], Tensor]:
    """Prefill as a server runs it that keeps a graph for this prompt length."""
    graph = PrefillGraph(model, model.new_cache(1, len(ids)), len(ids))
    return lambda: model.logits(graph.prefill_into_cache(ids))


def _serial(model: Qwen3Model, ids: Tensor) -> Callable[[], Tensor]:
    cache, metadata = model.new_cache(1, len(ids)), AttentionMetadata.prefill(len(ids), model.device)
    return lambda: model.logits(model.forward(ids, metadata, cache)[-1:])


def _answer(call: Callable[[], Tensor]) -> Answer:
    logits = call().float()
    return Answer(logits.argmax(-1, keepdim=True), logits, ())


def _timed(calls: dict[str, Callable[[], Tensor]], truth: Answer, floor: Answer, count: int) -> dict[str, SubjectRate]:
    rates: dict[str, SubjectRate] = {name: {} for name in calls}
    for name, call in calls.items():
        try:
            if wrong := mismatch(_answer(call), truth, floor):
                rates[name] = {"refused": wrong}
        except Exception as error:  # any exception means that it does not run here
            rates[name] = {"skipped": first_line(error)}
    ready = [name for name in calls if not rates[name]]
    for name, timing in zip(ready, gpu_seconds(*(calls[name] for name in ready), count=SAMPLES), strict=True):
        rates[name] = {"rate": timing.rate(count)}
    return rates
