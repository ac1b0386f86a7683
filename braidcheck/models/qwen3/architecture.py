"""A Qwen3 checkpoint's ``config.json``, checked against what the kernels support."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braidcheck.errors import CheckpointError


@dataclass(frozen=True)
class Qwen3Config:
    """The sizes and constants that define a Qwen3; none has a default, since transformers' own are another model's."""

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
        """What attention scores are multiplied by: head_dim ** -0.5."""
        return self.head_dim**-0.5

    @property
    def heads(self) -> tuple[int, int, int]:
        """Query heads, KV heads, head_dim: as the ops take them."""
        return self.num_attention_heads, self.num_key_value_heads, self.head_dim

    @property
    def qkv_rows(self) -> int:
        """Rows of the stacked Q, K and V weight."""
        return (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim

    @classmethod
    def from_directory(cls, directory: str | Path) -> Qwen3Config:
        """The config of a checkpoint directory. Raises CheckpointError where it is missing or unsupported."""
        path = Path(directory) / "config.json"
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise CheckpointError(f"{directory} has no config.json: give the directory of a Qwen3 checkpoint") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not JSON ({error}): fetch the checkpoint again") from None

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Qwen3Config:
        """The config of these entries. Raises CheckpointError for another architecture or an unsupported feature."""
        if config.get("model_type") != "qwen3":
            found = config.get("model_type") or config.get("architectures") or "nothing"
            raise CheckpointError(f"config.json says {found}: braidcheck's engine runs model_type 'qwen3' only")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        _refuse_unsupported(config, rope)
        theta = rope.get("rope_theta", config.get("rope_theta"))
        sizes: Mapping[str, Any] = {name: config.get(name) for name in cls.__annotations__} | {"rope_theta": theta}
        missing = [name for name, value in sizes.items() if value is None]
        if missing:
            raise CheckpointError(f"config.json lacks {', '.join(missing)}: add them, there are no safe defaults")
        if sizes["num_attention_heads"] % sizes["num_key_value_heads"]:
            raise CheckpointError("config.json: num_attention_heads is not a multiple of num_key_value_heads")
        return cls(**sizes)


def _refuse_unsupported(config: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    sliding = config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ())
    for unsupported, what in (
        (kind != "default", f"RoPE scaling {kind!r}"),
        (sliding, "a sliding window"),
        (config.get("attention_bias"), "attention_bias true"),
        (config.get("hidden_act", "silu") != "silu", f"hidden_act {config.get('hidden_act')!r}"),
    ):
        if unsupported:
            raise CheckpointError(f"config.json asks for {what}, which braidcheck's engine does not support")


QWEN3_0_6B = Qwen3Config(
    hidden_size=1024,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=3072,
    vocab_size=151936,
    max_position_embeddings=40960,
    rope_theta=1e6,
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)
