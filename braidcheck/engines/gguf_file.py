"""Converts a Qwen3 checkpoint directory to one GGUF file, for llama.cpp.

    python gguf_file.py DIRECTORY FILE.gguf F32|F16|BF16|Q8_0|Q5_0|Q4_0

It runs in the engine's environment, with gguf and safetensors and without braidcheck. Prompts for the file must be
token ids, not text: llama.cpp knows pre-tokenizers only by name, and nano's is not among them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ARCHITECTURE = "qwen3"
QUANTIZATIONS = ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0")
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
PRE_TOKENIZER = "gpt-2"


def convert(directory: Path, path: Path, quantization: str) -> None:
    """Write the GGUF file: matrices in ``quantization``, norms in float32.

    Raises ValueError for a directory without a Qwen3 and for an unsupported quantization.
    """
    import gguf

    if quantization not in QUANTIZATIONS:
        raise ValueError(f"no quantization {quantization}: choose one of {', '.join(QUANTIZATIONS)}")
    target = gguf.GGMLQuantizationType[quantization]
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    config = _json(directory, "config.json")
    if config.get("model_type") != ARCHITECTURE:
        raise ValueError(f"{directory} has a {config.get('model_type')}: a {ARCHITECTURE} checkpoint is needed")
    _write_config(writer, config)
    _write_tokenizer(writer, _json(directory, "tokenizer.json"), config)
    for name, values in _tensors(directory):
        qtype = target if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(values, qtype), raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """The GGUF name of a Hugging Face tensor. Raises ValueError for one that Qwen3 does not have."""
    stem, _, kind = name.rpartition(".")
    layer = ""
    if stem.startswith("model.layers."):
        number, _, stem = stem.removeprefix("model.layers.").partition(".")
        layer = f"blk.{number}."
    if stem not in NAMES or kind != "weight":
        raise ValueError(f"tensor {name} has no place in a {ARCHITECTURE} GGUF file: convert a Qwen3 checkpoint")
    return f"{layer}{NAMES[stem]}.weight"


def _json(directory: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"no checkpoint in {directory}: {name}: {error}") from None


def _write_config(writer: Any, config: Mapping[str, Any]) -> None:
    rope = config.get("rope_parameters") or config
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _write_tokenizer(writer: Any, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """The tokens by id; ids without a token are marked as unused."""
    import gguf

    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens = {number: token for token, number in tokenizer["model"]["vocab"].items()} | special
    kinds = gguf.TokenType
    ids = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([tokens.get(number, f"<unused {number}>") for number in ids])
    writer.add_token_types(
        [kinds.CONTROL if n in special else kinds.NORMAL if n in tokens else kinds.UNUSED for n in ids]
    )
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def _tensors(directory: Path) -> Iterator[tuple[str, Any]]:
    """Each tensor's name and float32 values, as numpy has no bfloat16."""
    import gguf
    import numpy as np
    import safetensors

    for path in sorted(directory.glob("*.safetensors")):
        for name, tensor in safetensors.deserialize(path.read_bytes()):
            stored = gguf.GGMLQuantizationType[tensor["dtype"]]
            rows = np.frombuffer(tensor["data"], np.uint8).reshape(*tensor["shape"][:-1], -1)
            yield name, gguf.quants.dequantize(rows, stored).reshape(tensor["shape"])


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except IndexError:
        sys.exit(__doc__)
    except ValueError as error:
        sys.exit(str(error))
