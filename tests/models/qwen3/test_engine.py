"""The engine next to HF in float32 on a tiny model, for every fusion; decode next to prefill; poison in the cache."""

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.gates import layers
from braidcheck.gates.layers.measure import measure_layers
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.models.qwen3.attention import BACKENDS
from braidcheck.numerics.calls import poisoned_outputs
from braidcheck.result import Status

IDS = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4))


@pytest.mark.numeric
@pytest.mark.parametrize("attention", [*BACKENDS, "reference"])
def test_float32_is_hf(tiny, assert_hf, attention):
    with poisoned_outputs():
        logits = Engine.load(tiny, dtype=torch.float32, attention=attention).forward_logits(IDS)
    assert_hf(logits, IDS)


@pytest.mark.numeric
@pytest.mark.parametrize("attention", [*BACKENDS, "reference"])
def test_decoding_ragged_rows_is_prefilling_each(tiny, assert_hf, attention):
    engine = Engine.load(tiny, dtype=torch.float32, attention=attention)
    lengths = [5, 1, 12]
    cache = engine.model.new_cache(3, 20)
    for row, length in enumerate(lengths):
        one = engine.model.new_cache(1, 20)
        engine.model.forward(IDS[: length - 1], AttentionMetadata.prefill(length - 1, "cpu"), one)
        for kind in ("k", "v"):
            for whole, part in zip(getattr(cache, kind), getattr(one, kind), strict=True):
                whole[row] = part[0]
    newest = torch.stack([IDS[length - 1] for length in lengths])
    h = engine.model.forward(newest, AttentionMetadata.decode(torch.tensor(lengths) - 1), cache)
    assert_hf(engine.model.logits(h), IDS, torch.tensor(lengths) - 1)


@pytest.mark.numeric
def test_generation_is_hfs(tiny, hf_tiny):
    engine = Engine.load(tiny, dtype=torch.float32)
    with torch.no_grad():
        expected = hf_tiny.generate(IDS[None, :7], max_new_tokens=6, do_sample=False, eos_token_id=None)[0, 7:]
    assert engine.generate(IDS[:7], 6) == expected.tolist()
    assert engine.generate(IDS[:7], 0) == []


@pytest.mark.numeric
def test_a_prefill_in_chunks_is_the_prefill(tiny, assert_hf):
    engine = Engine.load(tiny, dtype=torch.float32)
    cache = engine.model.new_cache(1, 19)
    first = engine.model.forward(IDS[:8], AttentionMetadata.prefill(8, "cpu"), cache)
    second = engine.model.forward(IDS[8:], AttentionMetadata.prefill(11, "cpu", start=8), cache)
    assert_hf(engine.model.logits(torch.cat([first, second])), IDS)


def test_the_trace_shows_every_layer(tiny):
    seen = []
    Engine.load(tiny).forward_logits(
        IDS, trace=lambda layer, name, tensor: seen.append((layer, name, tuple(tensor.shape)))
    )
    of_layer = [("q", (19, 6, 16)), ("k", (19, 2, 16)), ("hidden", (19, 48))]
    assert seen == [(layer, *rest) for layer in (0, 1) for rest in of_layer]


def test_more_tokens_than_positions_are_refused(tiny):
    engine = Engine.load(tiny)
    with pytest.raises(UserError, match="more than the model's 64 positions"):
        engine.generate(IDS, 60)
    with pytest.raises(UserError, match="the cache holds 8 tokens"):
        Decoder(engine.model, engine.model.new_cache(1, 8), IDS[:1], torch.tensor([5])).run(4)


def test_an_unknown_attention_and_an_empty_prompt_are_refused(tiny):
    with pytest.raises(UserError, match="no attention 'flash'"):
        Engine.load(tiny, attention="flash")
    with pytest.raises(UserError, match="empty prompt"):
        Engine.load(tiny).generate(IDS[:0], 3)


@pytest.mark.parametrize("attention", ["separated", "fully_fused_raw"])
def test_the_layer_gate_passes_and_sees_a_fault(attention, monkeypatch):
    config = Qwen3Config(256, 2, 6, 2, 64, 576, 1024, 4096, 1e6, 1e-6, True)
    verdicts = layers.evaluate(measure_layers("cpu", config=config, attention=attention, tokens=40))
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
    monkeypatch.setattr("braidcheck.models.model.rope_table", lambda *size, **rest: torch.ones(size[:2]))
    verdicts = layers.evaluate(measure_layers("cpu", config=config, attention=attention, tokens=40))
    assert {verdict.status for verdict in verdicts} == {Status.FAIL}
