"""A model given other ops calls them, everywhere or in some layers, and leaves the model that it came from alone."""

from collections import Counter

import pytest
import torch

from braidcheck.models.engine import Engine
from braidcheck.models.ops import KERNELS, REFERENCES

IDS = torch.arange(5)


@pytest.fixture(scope="module")
def engine(tiny):
    return Engine.load(tiny, dtype=torch.float32)


@pytest.mark.numeric
def test_references_replace_every_op(engine, assert_hf):
    calls = Counter()
    engine = engine.with_ops(REFERENCES.counted(calls))
    assert_hf(engine.forward_logits(IDS), IDS)
    assert engine.generate(IDS, 3) == engine.generate(IDS, 3)
    prompts, steps, layers = 3, 2 * 2, 2
    assert calls["rms_norm"] == calls["attention_prefill"] == layers * prompts
    assert calls["rms_norm_qkv"] == calls["decode_attention"] == layers * steps
    assert calls["lm_head"] == prompts + steps


def test_layer_ops_are_called_in_their_layer_only(engine):
    calls = Counter(), Counter(), Counter()
    outside, *layers = (KERNELS.counted(of_place) for of_place in calls)
    engine.with_ops(outside, layers).forward_logits(IDS)
    assert calls[0] == {"lm_head": 1}
    assert calls[1] == calls[2]
    assert calls[1]["gate_up_silu"] == 1
    assert "lm_head" not in calls[1]


def test_layer_ops_must_be_one_table_a_layer(engine):
    with pytest.raises(ValueError, match="3 tables for 2 layers"):
        engine.with_ops(KERNELS, [KERNELS] * 3)


def test_with_ops_leaves_the_original_unchanged(engine):
    broken = engine.with_ops(KERNELS.replace(gate_up_silu=lambda *_: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        broken.forward_logits(IDS)
    assert engine.model.ops is KERNELS
    assert engine.forward_logits(IDS).isfinite().all()


def test_engine_calls_the_ops_it_is_loaded_with(tiny):
    calls = Counter()
    Engine.load(tiny, ops=KERNELS.counted(calls)).generate(IDS, 2)
    assert calls["qkv_rope"] == calls["decode_attention"] == 2
