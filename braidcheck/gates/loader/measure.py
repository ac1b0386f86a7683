"""Checks of the loader as a user sees it: what must be refused, and what must load."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from braidcheck import scratch
from braidcheck.gates.engine.measure import differs
from braidcheck.gates.engine.tiny import Tiny
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import module

Change = Callable[[dict[str, torch.Tensor]], object]  # of a checkpoint's tensors, in place
REFUSED_CONFIGS: Mapping[str, Mapping[str, object]] = {
    "another architecture": {"model_type": "no_such_model"},
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
REFUSED_TENSORS: Mapping[str, Change] = {
    "a missing tensor": lambda tensors: tensors.pop(K),
    "a missing head norm": lambda tensors: tensors.pop(NORM),
    "an unknown tensor": lambda tensors: tensors.update(extra=torch.zeros(1)),
    "a wrong shape": lambda tensors: tensors.update({K: torch.zeros(3, 48)}),
    "a transposed tensor": lambda tensors: tensors.update({Q: tensors[Q].T.contiguous()}),
}


def loader_checks(tiny: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of the loader; what it loaded runs on ``device``."""
    for name, changes in REFUSED_CONFIGS.items():
        yield f"refuses {name}", partial(_refuses, tiny, changes, None)
    for name, change in REFUSED_TENSORS.items():
        yield f"refuses {name}", partial(_refuses, tiny, {}, change)
    yield "theta at the top", partial(_theta, tiny)
    yield "several files", partial(_shards, tiny, device)
    yield "a damaged file", partial(_damaged, tiny)
    yield "unknown biases", partial(_biases, tiny, device)
    yield "a stored head that is tied", partial(_tied, tiny, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """All of the loader's checks."""
    return loader_checks(trial.fixtures.tiny, trial.device)


@contextmanager
def _copy(tiny: Tiny, changes: Mapping[str, object], change: Change | None = None) -> Iterator[Path]:
    """A copy of the checkpoint with other entries in its config (None: without) or other tensors."""
    from safetensors.torch import load_file, save_file

    with scratch.Folder("loader") as folder:
        directory = Path(shutil.copytree(tiny.directory, folder / "copy"))
        config = {**json.loads((directory / "config.json").read_text()), **changes}
        (directory / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        if change:
            tensors = load_file(directory / "model.safetensors")
            change(tensors)
            save_file(tensors, directory / "model.safetensors")
        yield directory


def _load(directory: Path, device: str = "cpu") -> Any:
    return module("models.engine").Engine.load(directory, device, torch.float32)


def _refuses(tiny: Tiny, changes: Mapping[str, object], change: Change | None) -> str | None:
    with _copy(tiny, changes, change) as directory:
        try:
            _load(directory)
        except module("errors").CheckpointError as error:
            return f"the refusal is not one line: {error}" if "\n" in str(error) else None
    return "not refused"


def _theta(tiny: Tiny) -> str | None:
    with _copy(tiny, {"rope_parameters": None, "rope_theta": 7.0}) as directory:
        theta = _load(directory).model.config.rope_theta
    return None if theta == 7.0 else f"rope_theta 7 of an older config is read as {theta}"


def _shards(tiny: Tiny, device: str) -> str | None:
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
        logits = _load(directory, device).forward_logits(tiny.ids)
    return differs("a checkpoint in two files gives other logits", logits, tiny.logits)


def _damaged(tiny: Tiny) -> str | None:
    with _copy(tiny, {}) as directory:
        whole = directory / "model.safetensors"
        whole.write_bytes(whole.read_bytes()[:5000])
        try:
            _load(directory)
        except module("errors").CheckpointError:
            return None
    return "not refused"


def _biases(tiny: Tiny, device: str) -> str | None:
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.full((96,), 1e30)}
    return _ignored(tiny, device, lambda tensors: tensors.update(bias), "biases that the config does not know")


def _tied(tiny: Tiny, device: str) -> str | None:
    head = {"lm_head.weight": torch.zeros(tiny.sizes["vocab_size"], tiny.sizes["hidden_size"])}
    return _ignored(tiny, device, lambda tensors: tensors.update(head), "a stored head that the config ties")


def _ignored(tiny: Tiny, device: str, change: Change, what: str) -> str | None:
    with _copy(tiny, {}, change) as directory, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logits = _load(directory, device).forward_logits(tiny.ids)
    violation = differs(f"{what} change the logits", logits, tiny.logits)
    return violation or (None if caught else f"{what} are dropped without a warning")
