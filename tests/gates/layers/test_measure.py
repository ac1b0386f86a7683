"""Layer by layer next to HF: an honest engine is as near as HF bfloat16, and a broken op is named."""

import pytest
import torch

from braidcheck.gates import layers
from braidcheck.gates.layers.measure import hf_model, measure_layers
from braidcheck.models.ops import KERNELS
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.result import Status

SMALL = Qwen3Config(
    hidden_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
    intermediate_size=160, vocab_size=64, max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=1e6,
    tie_word_embeddings=True,
)  # fmt: skip


def verdicts(**options):
    return layers.evaluate(measure_layers("cpu", config=SMALL, tokens=40, limit=layers.LIMIT, **options))


def test_correct_engine_passes_layers():
    assert {verdict.status for verdict in verdicts()} == {Status.PASS}


def test_the_floor_rotates_by_unrounded_frequencies_as_hf_does():
    model = hf_model(SMALL, synthetic_tensors(SMALL, 0, "cpu"), torch.bfloat16, "cpu")
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize("name", ["gate_up_silu", "linear_residual"])
def test_a_broken_op_is_named(name):
    own = getattr(KERNELS, name)
    first, second, *rest = verdicts(ops=KERNELS.replace(**{name: lambda x, *rest: own(x, *rest) * 1.1}))
    for verdict in (first, second):
        assert verdict.status == Status.FAIL
        assert verdict.metrics["blame"] == [name]
        assert verdict.message.endswith(f"suspect ops: {name}")
    assert not any("blame" in verdict.metrics for verdict in rest)


def test_what_is_no_ops_fault_is_said_to_be_none(monkeypatch):
    own = Qwen3Model.layer
    monkeypatch.setattr(Qwen3Model, "layer", lambda *args, **options: own(*args, **options) * 1.1)
    first, *_ = verdicts()
    assert first.metrics["blame"] == []
    assert "no op" in first.message
