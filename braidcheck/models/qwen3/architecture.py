"""A Qwen3 checkpoint's ``config.json``, checked against what the kernels support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from braidcheck.errors import CheckpointError
from braidcheck.models.architecture import Config, check_types

EMBEDDING, FINAL_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


@dataclass(frozen=True)
class Qwen3Config(Config):
    """The sizes and constants of a Qwen3; none has a default, since transformers' defaults are another model's."""

    model_type: ClassVar[str] = "qwen3"

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every tensor that a checkpoint of this config holds."""
        width, inner, (heads, kv_heads, dim) = self.hidden_size, self.intermediate_size, self.heads
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.vocab_size, width), FINAL_NORM: (width,)}
        if not self.tie_word_embeddings:
            shapes[HEAD] = self.vocab_size, width
        for index in range(self.num_hidden_layers):
            of_layer = {
                "input_layernorm.weight": (width,),
                "post_attention_layernorm.weight": (width,),
                "self_attn.q_proj.weight": (heads * dim, width),
                "self_attn.k_proj.weight": (kv_heads * dim, width),
                "self_attn.v_proj.weight": (kv_heads * dim, width),
                "self_attn.o_proj.weight": (width, heads * dim),
                "self_attn.q_norm.weight": (dim,),
                "self_attn.k_norm.weight": (dim,),
                "mlp.gate_proj.weight": (inner, width),
                "mlp.up_proj.weight": (inner, width),
                "mlp.down_proj.weight": (width, inner),
            }
            shapes |= {f"model.layers.{index}.{name}": shape for name, shape in of_layer.items()}
        return shapes

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Qwen3Config:
        """The config of these entries. Raises CheckpointError for an unsupported feature."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(rope, Mapping) or not isinstance(config.get("layer_types") or [], list):
            raise CheckpointError("config.json: rope_parameters must be an object and layer_types a list")
        _refuse_unsupported(config, rope)
        theta = rope.get("rope_theta", config.get("rope_theta"))
        sizes: Mapping[str, Any] = {field.name: config.get(field.name) for field in fields(cls)} | {"rope_theta": theta}
        missing = [name for name, value in sizes.items() if value is None]
        if missing:
            raise CheckpointError(f"config.json lacks {', '.join(missing)}: add them, there are no safe defaults")
        check_types(sizes)
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
