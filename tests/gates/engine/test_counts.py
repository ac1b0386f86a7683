"""What requests cost: the engine passes, and each cost is seen where it is planted."""

import pytest

from braidcheck import models
from braidcheck.gates.engine import counts
from braidcheck.gates.engine.counts import count_checks
from braidcheck.kernels.attention_prefill.kernel import attention_prefill_kernel
from braidcheck.models import decode, engine
from braidcheck.models.decode import Decoder
from braidcheck.models.decoders import Decoders
from braidcheck.models.model import Model
from braidcheck.models.prefill_graph import PrefillGraphs
from braidcheck.models.qwen3.attention import BACKENDS
from braidcheck.models.qwen3.model import Qwen3Model

QWEN3 = models.find()["qwen3"]
CHECKS = dict(count_checks(QWEN3))


@pytest.mark.parametrize("name", CHECKS)
def test_the_engine_passes(name):
    assert CHECKS[name]() is None


def test_decode_without_graphs_is_seen(monkeypatch):
    for name, tokens in (("SHORT", 2), ("LONG", 5), ("MORE", 3)):  # each is launched kernel by kernel
        monkeypatch.setattr(counts, name, tokens)
    monkeypatch.setattr(Decoder, "_advance", lambda self, steps, use_cuda_graph: self._serial(steps))
    for name in ("decode production", "decode fully_fused", "sampled decode"):
        assert "more launches by the host" in CHECKS[name]()


def test_graphs_that_every_request_records_are_seen(monkeypatch):
    monkeypatch.setattr(Decoders, "keep", lambda self, decoder: None)
    assert "records 1 CUDA graphs: keep those of earlier ones" in CHECKS["repeated request"]()


def test_a_prompt_that_is_always_launched_kernel_by_kernel_is_seen(monkeypatch):
    monkeypatch.setattr(PrefillGraphs, "prefill_into_cache", lambda self, *given: self.model.prefill_into_cache(*given))
    assert "submissions with 2 layers" in CHECKS["repeated request"]()


def test_a_graph_a_token_is_seen(monkeypatch):
    monkeypatch.setattr(decode, "STEPS_PER_GRAPH", 1)
    assert "64 more tokens take 128 more submissions by the host, at most 63" in CHECKS["decode production"]()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("decode production", "8 more reads by the host, at most 0"),
        ("reads with stop tokens", "10 more reads by the host, at most 4"),
    ],
)
def test_a_read_a_graph_is_seen(monkeypatch, name, said):
    advance = Decoder._advance
    monkeypatch.setattr(
        Decoder, "_advance", lambda self, *given, **rest: (self.tokens.tolist(), advance(self, *given, **rest))[1]
    )
    assert said in CHECKS[name]()


def test_a_read_within_a_graph_is_seen(monkeypatch):
    step = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: (step(self), self.tokens.tolist())[0])
    assert CHECKS["decode production"]() == "a CUDA graph waits for the host: tolist"


def test_reads_of_a_stream_are_seen(monkeypatch):
    monkeypatch.setattr(engine, "STREAM_CHUNK", 2)
    assert "64 more tokens of a stream take 64 more reads" in CHECKS["reads of a stream"]()


def test_stops_that_nobody_reads_are_seen(monkeypatch):
    monkeypatch.setattr(decode, "STOP_CHECK_INTERVAL", 1000)
    assert CHECKS["reads with stop tokens"]() == "no read sees that all rows have stopped"


def test_a_copy_of_the_cache_in_each_step_is_seen(monkeypatch):
    step = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: (step(self), self.cache.k[0].clone())[0])
    assert "at 16384 tokens 8 steps allocate" in CHECKS["decode step"]()


def test_a_copy_of_a_weight_in_each_step_is_seen(monkeypatch):
    logits = Model.next_tokens
    monkeypatch.setattr(
        Model, "next_tokens", lambda self, *given, **rest: (self.weights.head.clone(), logits(self, *given, **rest))[1]
    )
    assert "activations take" in CHECKS["decode step"]()


def test_logits_of_a_whole_prompt_are_seen(monkeypatch):
    forward = Model.forward
    monkeypatch.setattr(Model, "forward", lambda self, *given: (self.logits(h := forward(self, *given)), h)[1])
    assert "more tokens in the vocabulary take" in CHECKS["prefill"]()


def test_a_prompt_in_small_chunks_is_seen(monkeypatch):
    monkeypatch.setattr("braidcheck.models.model.PREFILL_CHUNK", 100)
    assert "600 tokens of a prompt take" in CHECKS["prefill"]()


@pytest.mark.parametrize("name", ["compilations", "compilations fused"])
def test_a_kernel_that_is_compiled_for_every_length_is_seen(monkeypatch, name):
    plain = type(attention_prefill_kernel).__getitem__

    def launcher(kernel, grid):
        launch = plain(kernel, grid)
        if kernel is not attention_prefill_kernel:
            return launch
        return lambda **options: launch(**options, maxnreg=options["num_tokens"])

    monkeypatch.setattr(type(attention_prefill_kernel), "__getitem__", launcher)
    assert "compiles attention_prefill_kernel again" in CHECKS[name]()


def test_production_that_decodes_unfused_is_seen(monkeypatch):
    monkeypatch.setattr(Qwen3Model, "BACKENDS", {**BACKENDS, "production": BACKENDS["separated"]})
    assert "with attention" in CHECKS["fewest launches"]()
