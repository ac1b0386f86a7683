"""A tiny random checkpoint, as HF writes it."""

import pytest
import torch

TINY = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 40, "vocab_size": 70, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="session")
def hf_tiny():
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    model = Qwen3ForCausalLM(Qwen3Config(**TINY, rope_parameters=rope, attn_implementation="eager"))
    for name, parameter in model.named_parameters():
        drawn = torch.exp(0.5 * torch.randn_like(parameter)) if "norm" in name else 0.2 * torch.randn_like(parameter)
        parameter.data = drawn.to(torch.bfloat16).float()  # exact in bfloat16 too
    return model.eval()


@pytest.fixture(scope="session")
def assert_hf(hf_tiny, hf_logits, assert_rounded):
    """``assert_hf(logits, ids, places)``: float32 logits are HF's at these places of ids [T], up to rounding."""
    longest = TINY["num_attention_heads"] * TINY["head_dim"]  # the output projection's sums

    def check(logits, ids, places=slice(None)):
        exact, float32 = hf_logits(hf_tiny, ids)
        assert_rounded(logits, exact[places], float32[places], longest)

    return check


@pytest.fixture(scope="session")
def tiny(hf_tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny")
    hf_tiny.save_pretrained(directory)
    return directory


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the checkpoint to damage."""
    import shutil

    return shutil.copytree(tiny, tmp_path / "copy")
