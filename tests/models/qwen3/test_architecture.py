"""A config is read as it stands, and what the engine cannot run is refused in one line."""

import json

import pytest

from braidcheck import models
from braidcheck.errors import CheckpointError
from braidcheck.models.qwen3.architecture import QWEN3_0_6B


def config_of(directory):
    return models.of_checkpoint(directory).config_of(directory)


def edited(directory, **changes):
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return directory


def test_sizes_come_from_the_file(tiny):
    config = config_of(tiny)
    assert config.heads == (6, 2, 16)
    assert config.qkv_rows == 160
    assert config.rope_theta == 1e6
    assert config.scale == 0.25


def test_theta_of_older_files_is_found_at_the_top(copy):
    assert config_of(edited(copy, rope_parameters=None, rope_theta=5e5)).rope_theta == 5e5


def test_the_real_shape():
    assert QWEN3_0_6B.qkv_rows == 4096
    assert QWEN3_0_6B.num_attention_heads * QWEN3_0_6B.head_dim == 2048 != QWEN3_0_6B.hidden_size


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"use_sliding_window": True}, "sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding window"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "RoPE scaling 'yarn'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rms_norm_eps": None}, "lacks rms_norm_eps"),
        ({"rope_parameters": None}, "lacks rope_theta"),
        ({"num_key_value_heads": 4}, "multiple"),
    ],
)
def test_what_is_not_supported_is_refused(copy, changes, said):
    with pytest.raises(CheckpointError, match=said) as caught:
        config_of(edited(copy, **changes))
    assert "\n" not in str(caught.value)


def test_a_directory_without_config(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        config_of(tmp_path)


def test_a_config_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        config_of(tmp_path)


ODD = {
    "a text": "1024", "a fraction": 1024.5, "true": True, "negative": -1, "none": 0, "a list": [1024], "huge": 10**40,
    "an object": {}, "infinite": float("inf"), "NaN": float("nan"),
}  # fmt: skip
FIELDS = ("hidden_size", "num_hidden_layers", "vocab_size", "head_dim", "rms_norm_eps")


@pytest.mark.parametrize(
    ("name", "odd"), [(name, odd) for name in FIELDS for odd in ODD if (name, odd) != ("rms_norm_eps", "a fraction")]
)
def test_an_entry_of_another_type_is_refused_by_name(copy, name, odd):
    with pytest.raises(CheckpointError, match=f"config.json: {name} must be ") as said:
        config_of(edited(copy, **{name: ODD[odd]}))
    assert "\n" not in str(said.value)


def test_more_layers_than_memory_can_name_are_refused(copy):
    with pytest.raises(CheckpointError, match="num_hidden_layers must be an integer from 1 to 1024"):
        config_of(edited(copy, num_hidden_layers=10**9))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true or false"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "rope_theta must be a number"),
        ({"rope_parameters": ["default"]}, "rope_parameters must be an object"),
        ({"layer_types": 5}, "layer_types a list"),
    ],
)
def test_other_odd_entries_are_refused(copy, changes, said):
    with pytest.raises(CheckpointError, match=said):
        config_of(edited(copy, **changes))


@pytest.mark.parametrize("text", ["[]", "null", "1" * 5000, "[" * 100_000], ids=("list", "null", "digits", "deep"))
def test_a_config_that_is_no_object(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json is not "):
        config_of(tmp_path)
