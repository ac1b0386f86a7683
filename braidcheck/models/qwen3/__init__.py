"""Qwen3 built from the kernels: config, weights, attention backends, forward pass."""

from __future__ import annotations

from braidcheck.models.architecture import Architecture
from braidcheck.models.qwen3.architecture import QWEN3_0_6B, Qwen3Config
from braidcheck.settings import ATTENTIONS

ARCHITECTURE = Architecture(
    name=Qwen3Config.model_type,
    hf_model="Qwen3ForCausalLM",
    hf_config="Qwen3Config",
    config=Qwen3Config.from_json,
    attentions=ATTENTIONS,
    tiny={
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 40,
        "vocab_size": 300,
        "max_position_embeddings": 640,
        "rms_norm_eps": 0.03,
        "tie_word_embeddings": True,
    },
    title="Qwen3-0.6B",
    full_size_name="0.6B",
    full_size=QWEN3_0_6B,
)
