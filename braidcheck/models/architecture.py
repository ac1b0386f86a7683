"""Data types of a model architecture: its config, its weights and forward pass, and its names elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from braidcheck.errors import CheckpointError

MAX_LAYERS = 1024
MAX_SIZE = 2**28  # of an axis
MAX_CONSTANT = 1e30


@dataclass(frozen=True)
class Config:
    """The sizes and constants of a decoder; none has a default, since transformers' defaults are another model's.

    An architecture's subclass adds ``model_type`` and its tensors.
    """

    model_type: ClassVar[str]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool

    @property
    def scale(self) -> float:
        """The factor of attention scores: head_dim ** -0.5."""
        return self.head_dim**-0.5

    @property
    def heads(self) -> tuple[int, int, int]:
        """Query heads, KV heads, head_dim, as the ops take them."""
        return self.num_attention_heads, self.num_key_value_heads, self.head_dim

    @property
    def qkv_rows(self) -> int:
        """Rows of the stacked Q, K and V weight."""
        return (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every tensor that a checkpoint of this config holds."""
        raise NotImplementedError


@dataclass(frozen=True)
class Architecture:
    """The part of an architecture that needs only the standard library; ``build`` makes its models.

    ``name`` is the ``model_type`` of its checkpoints' config.json and the name of its folder. ``hf_model`` and
    ``hf_config`` are transformers' classes, by name. ``config`` makes the config of config.json's entries and raises
    CheckpointError for what the model does not support; ``attentions`` are the model's backends. ``tiny`` are the
    config.json entries of the engine gate's model, ``rope_theta`` apart: all unlike any default. ``full_size`` is the
    config of a model that is in use, which layers, speed and static take: ``title`` is its name, ``full_size_name`` the
    size in it.
    """

    name: str
    hf_model: str
    hf_config: str
    config: Callable[[Mapping[str, Any]], Config]
    attentions: tuple[str, ...]
    tiny: Mapping[str, Any]
    title: str
    full_size_name: str
    full_size: Config

    def config_of(self, directory: str | Path) -> Config:
        """The config of a checkpoint directory. Raises CheckpointError if it is missing or unsupported."""
        return self.config(read_config(directory))


def read_config(directory: str | Path) -> dict[str, Any]:
    """The entries of a checkpoint's config.json. Raises CheckpointError if it is missing or unreadable."""
    path = Path(directory) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{directory} has no config.json: give the directory of a checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and numbers of too many digits, too
        raise CheckpointError(f"{path} is not JSON ({error}): fetch the checkpoint again") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object: fetch the checkpoint again")
    return config


def check_types(values: Mapping[str, Any]) -> None:
    """Check that a config's values have the right types and plausible sizes; CheckpointError names the entry."""
    for name, value in values.items():
        if name == "tie_word_embeddings":
            right, what = isinstance(value, bool), "true or false"
        elif name in ("rope_theta", "rms_norm_eps"):
            right = type(value) in (int, float) and 0 < value <= MAX_CONSTANT
            what = f"a number above 0, at most {MAX_CONSTANT:g}"
        else:
            most = MAX_LAYERS if name == "num_hidden_layers" else MAX_SIZE
            right, what = type(value) is int and 0 < value <= most, f"an integer from 1 to {most}"
        if not right:
            raise CheckpointError(f"config.json: {name} must be {what}, is {str(value)[:40]!r}")
