"""A small model whose decoders a CPU can run, faults to plant in it, and stand-ins for what only a GPU can time."""

import dataclasses
from types import SimpleNamespace

import pytest

# Nothing of braidcheck is imported up here: it would read the interpreter's switch before that is set.


@pytest.fixture(scope="session")
def config():
    from braidcheck.models.qwen3.architecture import Qwen3Config

    return Qwen3Config(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        intermediate_size=96, vocab_size=128, max_position_embeddings=4096, rope_theta=1e6, rms_norm_eps=1e-6,
        tie_word_embeddings=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def altered():
    """Makes our own module, not compiled, of an engine with one fault in what it reads."""
    from braidcheck.benchmarks.backends import OwnModule

    def make(engine, start, layers=None, **changed):
        weights = dataclasses.replace(engine.weights, layers=layers or engine.weights.layers)
        config = dataclasses.replace(engine.config, **changed)
        return OwnModule(SimpleNamespace(config=config, weights=weights), start, lambda function: function)

    return make


@pytest.fixture
def untimed(monkeypatch):
    """Every call is made once and takes 2 ms; the machine gives 1e9 bytes and 1e12 operations a second."""
    from braidcheck.benchmarks import decode, prefill
    from braidcheck.benchmarks.events import Timing

    def seconds(*calls, count, warmup=1):
        for call in calls:
            call()
        return [Timing(2e-3, 1e-3, 4e-3, count) for _ in calls]

    for module in (decode, prefill):
        monkeypatch.setattr(module, "gpu_seconds", seconds)
    monkeypatch.setattr(decode, "copy_bandwidth", lambda device: 1e9)
    monkeypatch.setattr(prefill, "gemm_peak", lambda device: 1e12)
    monkeypatch.setattr(decode, "NEW_TOKENS", 2)
