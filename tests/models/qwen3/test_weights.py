"""Tensors are checked by name and shape; what is wrong is named."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from braidcheck import models
from braidcheck.errors import CheckpointError
from braidcheck.models.checkpoint import read_tensors
from braidcheck.models.qwen3.weights import Weights

K_PROJ = "model.layers.1.self_attn.k_proj.weight"


def load(directory):
    config = models.find()["qwen3"].config_of(directory)
    return Weights.from_tensors(read_tensors(directory, "cpu"), config, torch.bfloat16)


def changed(directory, change):
    file = directory / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return directory


def test_rows_are_stacked_in_the_order_of_the_ops(tiny, hf_tiny):
    weights, layer = load(tiny), hf_tiny.model.layers[1]
    assert torch.equal(weights.layers[1].qkv[96:128].float(), layer.self_attn.k_proj.weight)
    assert torch.equal(weights.layers[1].gate_up[:40].float(), layer.mlp.gate_proj.weight)
    assert torch.equal(weights.layers[1].post_norm.float(), layer.post_attention_layernorm.weight)
    assert weights.head is weights.embedding


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(K_PROJ), f"missing {K_PROJ}"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown extra"),
        (lambda t: t.update({K_PROJ: torch.zeros(3, 48)}), rf"{K_PROJ} is \[3, 48\], must be \[32, 48\]"),
    ],
)
def test_what_does_not_match_is_named(copy, change, said):
    with pytest.raises(CheckpointError, match=said) as caught:
        load(changed(copy, change))
    assert "\n" not in str(caught.value)


def test_biases_that_the_config_does_not_know_are_ignored_with_a_notice(copy, tiny):
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.full((96,), 1e30)}
    with pytest.warns(UserWarning, match=r"q_proj\.bias ignored"):
        weights = load(changed(copy, lambda t: t.update(bias)))
    assert torch.equal(weights.layers[0].qkv, load(tiny).layers[0].qkv)


def test_a_head_tied_by_the_config_wins_over_a_stored_one(copy):
    with pytest.warns(UserWarning, match="ties the head"):
        weights = load(changed(copy, lambda t: t.update({"lm_head.weight": torch.zeros(70, 48)})))
    assert weights.head is weights.embedding


def test_a_truncated_file(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="is damaged"):
        load(copy)


def test_a_missing_file(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load(copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "holds no weight_map"),
        ("{", "holds no weight_map"),
        ('{"weight_map": []}', "holds no weight_map"),
        ('{"weight_map": {}}', "names no file"),
        ('{"weight_map": {"a": [1]}}', "holds no weight_map"),
        ('{"weight_map": {"a": 5}}', "names '5', which is not a .safetensors file beside it"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "not a .safetensors file beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "not a .safetensors file beside it"),
        ('{"weight_map": {"a": "weights.bin"}}', "not a .safetensors file beside it"),
    ],
)
def test_an_index_that_names_no_file_beside_it(tmp_path, text, said):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_tensors(tmp_path, "cpu")
