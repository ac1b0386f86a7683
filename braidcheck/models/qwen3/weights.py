"""A checkpoint's tensors, checked by name and shape and stacked as the kernels read them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.errors import CheckpointError
from braidcheck.models.qwen3.architecture import EMBEDDING, FINAL_NORM, HEAD, Qwen3Config

BIASES = tuple(f"self_attn.{name}_proj.bias" for name in "qkvo")


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer: norms [H] or [D]; qkv[(Hq+2Hkv)*D, H]; o[H, Hq*D]; gate_up[2I, H]; down[H, I]."""

    input_norm: Tensor
    qkv: Tensor
    q_norm: Tensor
    k_norm: Tensor
    o: Tensor
    post_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Weights:
    """All tensors of a Qwen3: embedding[V,H], layers, norm[H], head[V,H] (the embedding itself where tied)."""

    embedding: Tensor
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    head: Tensor

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: Qwen3Config, dtype: torch.dtype) -> Weights:
        """The weights among ``tensors``, which are named as transformers names them.

        Raises CheckpointError for tensors that are missing, unknown or of a wrong shape. Biases that the config does
        not know, and a head that the config ties to the embedding, are left out with a warning.
        """
        tensors = _without_ignored(dict(tensors), config)
        _check(tensors, config.tensor_shapes())
        cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        embedding = cast[EMBEDDING]
        layers = tuple(_layer(cast, f"model.layers.{index}.") for index in range(config.num_hidden_layers))
        return cls(embedding, layers, cast[FINAL_NORM], cast.get(HEAD, embedding))


def _layer(tensors: Mapping[str, Tensor], prefix: str) -> LayerWeights:
    def stacked(*names: str) -> Tensor:
        return torch.cat([tensors[f"{prefix}{name}_proj.weight"] for name in names])

    return LayerWeights(
        input_norm=tensors[f"{prefix}input_layernorm.weight"],
        qkv=stacked("self_attn.q", "self_attn.k", "self_attn.v"),
        q_norm=tensors[f"{prefix}self_attn.q_norm.weight"],
        k_norm=tensors[f"{prefix}self_attn.k_norm.weight"],
        o=tensors[f"{prefix}self_attn.o_proj.weight"],
        post_norm=tensors[f"{prefix}post_attention_layernorm.weight"],
        gate_up=stacked("mlp.gate", "mlp.up"),
        down=tensors[f"{prefix}mlp.down_proj.weight"],
    )


def _without_ignored(tensors: dict[str, Tensor], config: Qwen3Config) -> dict[str, Tensor]:
    biases = sorted(name for name in tensors if name.endswith(BIASES))
    for name in biases:
        del tensors[name]
    if biases:
        warnings.warn(f"config.json says there are no attention biases: {_some(biases)} ignored", stacklevel=3)
    if config.tie_word_embeddings and HEAD in tensors:
        head = tensors.pop(HEAD)
        if EMBEDDING in tensors and not torch.equal(head, tensors[EMBEDDING]):
            warnings.warn(f"config.json ties the head to the embedding: another {HEAD} ignored", stacklevel=3)
    return tensors


def _check(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    missing = [name for name in shapes if name not in tensors]
    unknown = sorted(name for name in tensors if name not in shapes)
    wrong = [
        f"{name} is {list(tensors[name].shape)}, must be {list(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = [f"{what} {_some(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
    problems += [_some(wrong)] if wrong else []
    if problems:
        raise CheckpointError(f"the checkpoint does not match its config.json: {'; '.join(problems)}")


def _some(names: list[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
