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
