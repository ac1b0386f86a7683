"""Swapping ops inside the engine: what is called where, and all as before afterwards."""

import pytest
import torch

from braidcheck.gates.engine import tiny
from braidcheck.gates.swap import references, swapped
from braidcheck.kernels import find
from braidcheck.models.qwen3 import engine as module
from braidcheck.models.qwen3.engine import Engine

IDS = torch.arange(5)


@pytest.fixture(scope="module")
def model():
    return tiny.make()


@pytest.fixture(scope="module")
def engine(model):
    return Engine.load(model.directory, dtype=torch.float32)


@pytest.mark.numeric
def test_references_stand_in_for_every_op(model, engine, assert_tiny):
    with swapped(engine, references()) as calls:
        assert_tiny(engine.prefill(IDS), model, IDS)
        assert engine.generate(IDS, 3) == engine.generate(IDS, 3)
    assert {"rms_norm", "qkv_rope", "decode_attention", "lm_head"} <= set(calls)
    prompts, steps, layers = 3, 2 * 2, 2
    assert calls["rms_norm"] == calls["attention_prefill"] == layers * prompts
    assert calls["rms_norm_qkv"] == calls["decode_attention"] == layers * steps


def test_a_swap_in_one_layer_is_seen_there_only(engine):
    seen = []

    def spy(*args, **options):
        seen.append(within[-1])
        return find()["gate_up_silu"].reference(*args, **options)

    within = []
    where = lambda op, layer: within.append(layer) or layer == 1  # noqa: E731
    with swapped(engine, {"gate_up_silu": spy}, where):
        engine.prefill(IDS)
    assert seen == [1]
    assert within == [0, 1]


def test_patches_are_undone_after_an_error(engine):
    own, layer = module.gate_up_silu, engine.layer
    with pytest.raises(ZeroDivisionError), swapped(engine, {"gate_up_silu": lambda *_: 1 / 0}):
        engine.prefill(IDS)
    assert module.gate_up_silu is own
    assert engine.layer == layer
    assert "layer" not in vars(engine)
