"""What a user sees of the engine and the loader: the tiny model next to HF, and what must be refused.

Each probe returns a complaint, or nothing. They import the package anew, for a trial has put a mutated one in place.
"""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from braidcheck.mutants.tiny import ANSWER, PROMPT, SIZES, Tiny

CLOSE = {"rtol": 2e-4, "atol": 2e-4}
ATTENTIONS = ("separated", "fused", "fully_fused", "fully_fused_raw")

Probe = Callable[[], str | None]


def module(name: str) -> Any:
    """A module of the package as it now is in ``sys.modules``, mutated or not."""
    return importlib.import_module(f"braidcheck.{name}")


def engine_probes(tiny: Tiny, untied: Tiny, device: str) -> Iterator[tuple[str, Probe]]:
    """Name and probe of each thing asked of the engine."""
    yield "table", partial(_table, tiny, device)
    for attention in ATTENTIONS:
        yield f"prefill {attention}", partial(_prefill, tiny, attention, device)
        yield f"decode {attention}", partial(_decode, tiny, attention, device)
    yield "chunks", partial(_chunks, tiny, device)
    yield "answer", partial(_answer, tiny, device)
    yield "bfloat16", partial(_narrow, tiny, device)
    yield "untied head", partial(_prefill, untied, "separated", device)
    yield "empty cache", partial(_cache, tiny, device)
    yield "limits", partial(_limits, tiny, device)


def loader_probes(tiny: Tiny) -> Iterator[tuple[str, Probe]]:
    """Name and probe of each thing asked of the loader."""
    for name, changes in REFUSED_CONFIGS.items():
        yield f"refuses {name}", partial(_refuses, tiny, changes, None)
    for name, change in REFUSED_TENSORS.items():
        yield f"refuses {name}", partial(_refuses, tiny, {}, change)
    yield "theta at the top", partial(_theta, tiny)
    yield "several files", partial(_shards, tiny)
    yield "a damaged file", partial(_damaged, tiny)
    yield "unknown biases", partial(_biases, tiny)
    yield "a stored head that is tied", partial(_tied, tiny)


def _engine(tiny: Tiny, device: str, attention: str = "separated", dtype: torch.dtype = torch.float32) -> Any:
    return module("qwen3.engine").Engine.load(tiny.directory, device, dtype, attention)


def _differs(what: str, got: torch.Tensor, expected: torch.Tensor) -> str | None:
    got, expected = got.float().cpu(), expected.float().cpu()
    if got.shape != expected.shape:
        return f"{what}: shape {list(got.shape)}, must be {list(expected.shape)}"
    if torch.allclose(got, expected, **CLOSE):
        return None
    return f"{what}: off by {float((got - expected).abs().max()):.3g}"


def _table(tiny: Tiny, device: str) -> str | None:
    return _differs("the table of angles is not HF's", _engine(tiny, device).cos_sin, tiny.table)


def _prefill(tiny: Tiny, attention: str, device: str) -> str | None:
    with module("evidence.op").poisoned_outputs():
        logits = _engine(tiny, device, attention).prefill(tiny.ids)
    return _differs("logits are not HF float32's", logits, tiny.logits)


def _decode(tiny: Tiny, attention: str, device: str) -> str | None:
    """Ragged rows, each with its own past, against HF's logits at their places."""
    engine, lengths = _engine(tiny, device, attention), [5, 1, 27]
    step, ids = module("qwen3.attention").Step, tiny.ids.to(device)
    with module("evidence.op").poisoned_outputs():
        cache = engine.new_cache(3, 40)
        for row, length in enumerate(lengths):
            one = engine.new_cache(1, 40)
            if length > 1:
                engine.forward(ids[: length - 1], step.prompt(length - 1, device), one)
            for whole, part in zip((*cache.k, *cache.v), (*one.k, *one.v), strict=True):
                whole[row] = part[0]
        last = torch.tensor(lengths, device=device) - 1
        h = engine.forward(ids[last], step.decode(last), cache)
        complaint = _differs("a decoded row is not HF float32's", engine.logits(h), tiny.logits[last.cpu()])
        best = engine.next_tokens(h).cpu()
    if complaint is None and not torch.equal(best, tiny.logits[last.cpu()].argmax(-1)):
        complaint = "the next tokens are not the best ones"
    return complaint


def _chunks(tiny: Tiny, device: str) -> str | None:
    engine, step, ids = _engine(tiny, device), module("qwen3.attention").Step, tiny.ids.to(device)
    cache = engine.new_cache(1, len(ids))
    first = engine.forward(ids[:8], step.prompt(8, device), cache)
    second = engine.forward(ids[8:], step.prompt(len(ids) - 8, device, start=8), cache)
    return _differs("a prefill in chunks is not HF's", engine.logits(torch.cat([first, second])), tiny.logits)


def _answer(tiny: Tiny, device: str) -> str | None:
    answer = _engine(tiny, device).generate(tiny.ids[:PROMPT], ANSWER)
    return None if answer == tiny.answer else f"greedy tokens are {answer}, HF's {tiny.answer}"


def _narrow(tiny: Tiny, device: str) -> str | None:
    engine = module("qwen3.engine").Engine.load(tiny.directory, device)
    logits, truth = engine.prefill(tiny.ids).cpu(), tiny.logits
    if logits.dtype != torch.float32 or engine.weights.embedding.dtype != torch.bfloat16:
        return f"logits are {logits.dtype}, weights {engine.weights.embedding.dtype}"
    ratio = float((logits - truth).norm() / (tiny.floor - truth).norm())
    return None if ratio <= 1.5 else f"bfloat16 is {ratio:.2f}x as far from HF float32 as HF bfloat16"


def _cache(tiny: Tiny, device: str) -> str | None:
    engine = _engine(tiny, device)
    cache = engine.new_cache(2, 5)
    heads = SIZES["num_key_value_heads"], SIZES["head_dim"]
    if any(part.shape != (2, 5, *heads) or not part.isnan().all() for part in (*cache.k, *cache.v)):
        return "an empty cache is not full of NaN: a stale read would not show"
    return None if len({part.data_ptr() for part in (*cache.k, *cache.v)}) == 4 else "layers share a cache"


def _limits(tiny: Tiny, device: str) -> str | None:
    engine, errors = _engine(tiny, device), module("errors")
    decoder = module("qwen3.engine").Decoder
    newest, filled = tiny.ids[:1].to(device), torch.tensor([5], device=device)
    for what, call in (
        ("more tokens than positions", lambda: engine.generate(tiny.ids, SIZES["max_position_embeddings"])),
        ("more tokens than the cache holds", lambda: decoder(engine, engine.new_cache(1, 8), newest, filled).run(4)),
        ("an empty prompt", lambda: engine.generate(tiny.ids[:0], 3)),
        ("an unknown attention", lambda: module("qwen3.engine").Engine.load(tiny.directory, device, attention="no")),
    ):
        try:
            call()
        except errors.UserError:
            continue
        return f"{what}: not refused"
    return None


REFUSED_CONFIGS: dict[str, dict[str, Any]] = {
    "another architecture": {"model_type": "llama"},
    "a sliding window": {"use_sliding_window": True},
    "sliding layers": {"layer_types": ["full_attention", "sliding_attention"]},
    "RoPE scaling": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}},
    "attention biases": {"attention_bias": True},
    "another activation": {"hidden_act": "gelu"},
    "no eps": {"rms_norm_eps": None},
    "no theta": {"rope_parameters": None},
    "heads that do not divide": {"num_key_value_heads": 4},
}
Q, K, NORM = (f"model.layers.1.self_attn.{name}.weight" for name in ("q_proj", "k_proj", "k_norm"))
REFUSED_TENSORS: dict[str, Callable[[dict], Any]] = {
    "a missing tensor": lambda tensors: tensors.pop(K),
    "a missing head norm": lambda tensors: tensors.pop(NORM),
    "an unknown tensor": lambda tensors: tensors.update(extra=torch.zeros(1)),
    "a wrong shape": lambda tensors: tensors.update({K: torch.zeros(3, 48)}),
    "a transposed tensor": lambda tensors: tensors.update({Q: tensors[Q].T.contiguous()}),
}


@contextmanager
def _copy(tiny: Tiny, changes: dict[str, Any], change: Callable[[dict], Any] | None = None) -> Iterator[Path]:
    """A copy of the checkpoint with other entries in its config (None: without) or other tensors."""
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(shutil.copytree(tiny.directory, Path(folder) / "copy"))
        config = json.loads((directory / "config.json").read_text()) | changes
        (directory / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        if change:
            tensors = load_file(directory / "model.safetensors")
            change(tensors)
            save_file(tensors, directory / "model.safetensors")
        yield directory


def _load(directory: Path) -> Any:
    return module("qwen3.engine").Engine.load(directory, "cpu", torch.float32)


def _refuses(tiny: Tiny, changes: dict[str, Any], change: Callable[[dict], Any] | None) -> str | None:
    with _copy(tiny, changes, change) as directory:
        try:
            _load(directory)
        except module("errors").CheckpointError as error:
            return f"the refusal is not one line: {error}" if "\n" in str(error) else None
    return "not refused"


def _theta(tiny: Tiny) -> str | None:
    with _copy(tiny, {"rope_parameters": None, "rope_theta": 7.0}) as directory:
        theta = _load(directory).config.rope_theta
    return None if theta == 7.0 else f"rope_theta 7 of an older config is read as {theta}"


def _shards(tiny: Tiny) -> str | None:
    from safetensors.torch import load_file, save_file

    with _copy(tiny, {}) as directory:
        whole = directory / "model.safetensors"
        tensors = sorted(load_file(whole).items())
        whole.unlink()
        files = {"model-1.safetensors": dict(tensors[::2]), "model-2.safetensors": dict(tensors[1::2])}
        for name, part in files.items():
            save_file(part, directory / name)
        places = {tensor: name for name, part in files.items() for tensor in part}
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        logits = _load(directory).prefill(tiny.ids)
    return _differs("a checkpoint in two files gives other logits", logits, tiny.logits)


def _damaged(tiny: Tiny) -> str | None:
    with _copy(tiny, {}) as directory:
        whole = directory / "model.safetensors"
        whole.write_bytes(whole.read_bytes()[:5000])
        try:
            _load(directory)
        except module("errors").CheckpointError:
            return None
    return "not refused"


def _biases(tiny: Tiny) -> str | None:
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.full((96,), 1e30)}
    return _ignored(tiny, lambda tensors: tensors.update(bias), "biases that the config does not know")


def _tied(tiny: Tiny) -> str | None:
    head = {"lm_head.weight": torch.zeros(SIZES["vocab_size"], SIZES["hidden_size"])}
    return _ignored(tiny, lambda tensors: tensors.update(head), "a stored head that the config ties")


def _ignored(tiny: Tiny, change: Callable[[dict], Any], what: str) -> str | None:
    with _copy(tiny, {}, change) as directory, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logits = _load(directory).prefill(tiny.ids)
    complaint = _differs(f"{what} change the logits", logits, tiny.logits)
    return complaint or (None if caught else f"{what} are dropped without a word")
