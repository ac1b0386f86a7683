"""Runs each decoder layer by itself on HF's float32 hidden states, and compares it with HF's bfloat16 layer."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck import models
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.layers import Reading, evaluate, name
from braidcheck.gates.under_test import module
from braidcheck.golden.hf import exact_matmul
from braidcheck.models.architecture import Architecture, Config
from braidcheck.models.build import synthetic_tensors
from braidcheck.models.model import Model
from braidcheck.models.ops import REFERENCES, Function, OpTable
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.numerics.calls import poisoned_outputs
from braidcheck.result import Status
from braidcheck.settings import PRODUCTION

DECODE_ROWS = 16
SEED = 0
TRIAL_TOKENS = {"cpu": 66, "cuda": 512}  # of one layer, which the interpreter can run too: above 64 rows regimes change
TRIAL_VOCABULARY = 64  # a layer reads hidden states


def hf_model(config: Config, tensors: dict[str, Tensor], dtype: torch.dtype, device: str) -> Any:
    """HF's model of this config with these tensors, in eager attention and without hub kernels."""
    import transformers

    architecture = models.find()[config.model_type]
    sizes = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "rope_theta"}
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    make = getattr(transformers, architecture.hf_config)
    hf_config = make(**sizes, rope_parameters=rope, attention_bias=False, attn_implementation="eager")
    with torch.device(device):
        model = getattr(transformers, architecture.hf_model)(hf_config).to(dtype).eval()
        # ``to`` also rounds RoPE's frequencies, which HF does not do when it loads a model: the noise floor would be
        # too high.
        model.model.rotary_emb = type(model.model.rotary_emb)(hf_config)
    missing, unknown = model.load_state_dict(tensors, strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"the tensors are not those of HF's model: missing {missing}, unknown {unknown}")
    model.tie_weights()
    return model


def measure_layers(
    device: str,
    progress: Callable[[str], None] = lambda text: None,
    config: Config = QWEN3_0_6B,
    attention: str = PRODUCTION,
    tokens: int = 512,
    limit: float = math.inf,
    ops: OpTable | None = None,
) -> list[Reading]:
    """Per layer: relative error of the engine's layer and of HF-bf16's, in prefill and in decode, as plain data.

    Each layer is fed HF's float32 hidden states rounded to bfloat16, and the truth is HF's float32 layer on the same
    rounded numbers. Errors are 2-norms relative to what the layer adds to the stream. Decode takes the last rows one
    by one, as a ragged batch. Weights are seeded ones of the config's shape. The first reading whose error is over
    ``limit`` times HF-bf16's says which ops are to ``blame``: those whose kernel, amid references, makes it so. ``ops``
    replaces the kernels.
    """
    model, exact, narrow, ids = _models(device, config, attention, tokens)
    model = model.with_ops(ops) if ops else model
    seen: list[Reading] = []
    with torch.inference_mode(), exact_matmul():
        for index, states in enumerate(_hf_layers(exact, narrow, ids)):
            read = partial(_read, index, *states)
            readings = read(model)
            if _over(readings, limit) and not _over(seen, limit):
                suspects = _suspects(model, read, limit)
                for reading in _over(readings, limit):
                    reading["blame"] = suspects[reading["mode"]]
            seen += readings
            progress(f"layer {index + 1} of {config.num_hidden_layers}")
    return seen


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The check of one layer of each architecture's full size, on a CPU too."""
    for architecture in models.find().values():
        yield name(architecture), partial(_violation, architecture, trial.device)


def _violation(architecture: Architecture, device: str) -> str | None:
    config = replace(architecture.full_size, num_hidden_layers=1, vocab_size=TRIAL_VOCABULARY)
    evidence = measure_layers(device, config=config, tokens=TRIAL_TOKENS[device])
    verdicts = evaluate(evidence, model=name(architecture))
    return next((verdict.message for verdict in verdicts if verdict.status == Status.FAIL), None)


def one_layer(
    device: str, index: int, config: Config = QWEN3_0_6B, attention: str = PRODUCTION, tokens: int = 512
) -> tuple[Model, Callable[[Model], list[Reading]]]:
    """The model, and a function that reads its layer ``index``, optionally with other ops; HF runs once."""
    model, exact, narrow, ids = _models(device, config, attention, tokens)
    with torch.inference_mode(), exact_matmul():
        states = next(itertools.islice(_hf_layers(exact, narrow, ids), index, None))

    def read(model: Model) -> list[Reading]:
        with torch.inference_mode(), exact_matmul():
            return _read(index, *states, model)

    return model, read


def _models(device: str, config: Config, attention: str, tokens: int) -> tuple[Model, Any, Any, Tensor]:
    """The model, HF's in float32 and in bfloat16, and the ids of a prompt."""
    tensors = synthetic_tensors(config, SEED, device)
    model = module("models.build").of_tensors(config, tensors, torch.bfloat16, attention=attention)
    exact, narrow = (hf_model(config, tensors, dtype, device) for dtype in (torch.float32, torch.bfloat16))
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, config.vocab_size, (tokens,), generator=generator).to(device)
    return model, exact, narrow, ids


def _over(readings: list[Reading], limit: float) -> list[Reading]:
    return [reading for reading in readings if not reading["engine"] <= limit * reading["hf_bf16"]]


def _suspects(model: Model, read: Callable[[Model], list[Reading]], limit: float) -> dict[str, list[str]]:
    """By mode, the ops whose kernel exceeds the limit among references; none if references alone exceed it."""
    calls: Counter[str] = Counter()
    references = vars(REFERENCES)
    readings = read(model.with_ops(model.ops.map(lambda op, own: references.get(op, own)).counted(calls)))
    suspects: dict[str, list[str]] = {reading["mode"]: [] for reading in readings}
    for op in calls:
        ops = model.ops.map(partial(_kernel_of, op))
        for reading in _over(read(model.with_ops(ops)), limit):
            suspects[reading["mode"]].append(op)
    return suspects | {reading["mode"]: [] for reading in _over(readings, limit)}


def _kernel_of(name: str, op: str, own: Function) -> Function:
    """The kernel of the op ``name``, the references of all others."""
    return own if op == name else vars(REFERENCES).get(op, own)


def _read(index: int, h: Tensor, truth: Tensor, floor: Tensor, model: Model) -> list[Reading]:
    """The readings of the model's layer fed h[T,H], next to HF's two."""
    (whole, one_by_one), added, last = _run_layer(model, index, h), truth - h.float(), slice(-DECODE_ROWS, None)
    return [
        _reading(index, "prefill", whole, floor, truth, added),
        _reading(index, "decode", one_by_one, floor[last], truth[last], added[last]),
    ]


def _reading(layer: int, mode: str, out: Tensor, floor: Tensor, truth: Tensor, added: Tensor) -> Reading:
    def error(x: Tensor) -> float:
        return float((x.float() - truth).norm() / added.norm())

    return {"layer": layer, "mode": mode, "engine": error(out), "hf_bf16": error(floor)}


def _hf_layers(exact: Any, narrow: Any, ids: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each layer its input [T,H] in bfloat16, HF-float32's output and HF-bfloat16's output for it."""
    tokens = len(ids)
    positions = torch.arange(tokens, device=ids.device)[None]
    hidden = torch.ones(tokens, tokens, dtype=torch.bool, device=ids.device).triu(1)
    stream = exact.model.embed_tokens(ids)[None]
    for exact_layer, narrow_layer in zip(exact.model.layers, narrow.model.layers, strict=True):
        h = stream.to(torch.bfloat16)
        outs = []
        for model, layer, x in ((exact, exact_layer, h.float()), (narrow, narrow_layer, h)):
            mask = torch.zeros(1, 1, tokens, tokens, dtype=x.dtype, device=ids.device)
            mask.masked_fill_(hidden, torch.finfo(x.dtype).min)
            angles = model.model.rotary_emb(x, positions)
            out = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=angles)
            outs.append((out[0] if isinstance(out, tuple) else out).reshape(tokens, -1))
        yield h[0], *outs
        stream = outs[0][None]


def _run_layer(model: Model, index: int, h: Tensor) -> tuple[Tensor, Tensor]:
    """The model's layer on all rows of h[T,H] at once, and on the last rows one by one."""
    tokens, metadata = len(h), module("models.metadata").AttentionMetadata
    with poisoned_outputs():
        cache = model.new_cache(1, tokens)
        prompt = metadata.prefill(tokens, h.device)
        out = model.layer(index, h, prompt, cache.k[index], cache.v[index])
        # Row b sees all tokens before its own; later slots hold NaN as in a fresh cache.
        own = prompt.positions[-DECODE_ROWS:]
        later = prompt.positions[None, :] >= own[:, None]
        k, v = (
            kind[index].expand(len(own), -1, -1, -1).clone().masked_fill_(later[..., None, None], torch.nan)
            for kind in (cache.k, cache.v)
        )
        one_by_one = model.layer(index, h[own], metadata.decode(own), k, v)
    return out, one_by_one
