"""Requests in turn, prompts in chunks, constant logits: the engine passes, and faults of each kind are seen."""

import pytest
import torch

from braidcheck.gates.engine import constant, prompts, requests
from braidcheck.models.cache import KVCache
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.model import Model
from braidcheck.models.sampling import Sampling


@pytest.fixture
def checks(tinies):
    return dict(requests.request_checks(*tinies, "cpu"))


@pytest.mark.parametrize(
    "name", ["requests in turn", "two streams at once", "long, then short", "stops at borders", "all positions"]
)
def test_the_engine_passes(checks, name):
    assert checks[name]() is None


def test_a_cache_that_two_streams_share_is_seen(checks, monkeypatch):
    caches = {}
    plain = Model.new_cache
    monkeypatch.setattr(Model, "new_cache", lambda self, *size: caches.setdefault((id(self), size), plain(self, *size)))
    assert "streams in turns are" in checks["two streams at once"]()
    assert "is answered" in checks["requests in turn"]() or "came between" in checks["requests in turn"]()


def test_what_a_longer_prompt_has_left_is_seen(checks, monkeypatch):
    kept = []
    plain = Model.new_cache

    def new_cache(self, batch, capacity):
        found = next((cache for owner, cache in kept if owner is self and cache.capacity >= capacity), None)
        if found is None:
            found = plain(self, batch, capacity)
            kept.append((self, found))
        return KVCache(*(tuple(layer[:batch, :capacity] for layer in part) for part in (found.k, found.v)))

    monkeypatch.setattr(Model, "new_cache", new_cache)
    assert "are left in the cache" in checks["long, then short"]()


def test_a_sampler_that_remembers_is_seen(checks, monkeypatch):
    seeds, drawn = Sampling.seeds, []
    monkeypatch.setattr(Sampling, "seeds", lambda self, *given: (drawn.append(1), seeds(self, *given) + len(drawn))[1])
    assert "by a fresh engine" in checks["requests in turn"]()


def test_a_dropped_stop_is_seen(checks, monkeypatch):
    stream = Engine._stream
    monkeypatch.setattr(Engine, "_stream", lambda self, decoder, count, stop: stream(self, decoder, count, stop[1:]))
    assert "a stream up to its token" in checks["stops at borders"]()


def test_a_position_too_few_is_seen(checks, monkeypatch):
    plain = Model.new_cache
    monkeypatch.setattr(Model, "new_cache", lambda self, batch, capacity: plain(self, batch, capacity + 1))
    with pytest.raises(Exception, match="641 tokens"):
        checks["all positions"]()


@pytest.mark.parametrize("number", [0, 3])
def test_a_second_chunk_one_place_on_is_seen(tinies, monkeypatch, number):
    check = list(dict(prompts.prompt_checks(tinies[0], "cpu")).values())[number]
    assert check() is None
    plain = AttentionMetadata.prefill.__func__

    def prefill(cls, count, device, start=0):
        made = plain(cls, count, device, start)
        return AttentionMetadata(made.positions + (start > 0), start)

    monkeypatch.setattr(AttentionMetadata, "prefill", classmethod(prefill))
    assert "logits of" in check()


@pytest.fixture
def of_constant(tinies):
    return dict((*constant.head_checks(tinies[0], "cpu"), *constant.draw_checks(tinies[0], "cpu")))


def padded(self, h, sampling=None, *given):
    head = torch.nn.functional.pad(self.weights.head, (0, 0, 0, -len(self.weights.head) % 1024))
    return self.ops.lm_head(h, self.weights.norm, head, self.config.rms_norm_eps, argmax=True)


def test_a_padded_head_is_seen(of_constant, monkeypatch):
    assert of_constant["negative logits"]() is None
    monkeypatch.setattr(Model, "next_tokens", padded)
    assert "negative logits the last is the best: 1 rows with {} are answered" in of_constant["negative logits"]()


def test_the_last_of_equal_logits_is_seen(of_constant, monkeypatch):
    assert of_constant["ties"]() is None
    monkeypatch.setattr(
        Model, "next_tokens", lambda self, h, *given: len(self.weights.head) - 1 - self.logits(h).flip(-1).argmax(-1)
    )
    assert "must be the first" in of_constant["ties"]()


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        ("distribution", lambda self, rows, device: torch.zeros(rows, dtype=torch.int64, device=device)),
        ("independence", lambda self, rows, device: (self.seed << 32) + torch.arange(rows, device=device) % 256),
        ("independence", lambda self, rows, device: (self.seed % 2**16 << 32) + torch.arange(rows, device=device)),
        ("seeds", lambda self, rows, device: (self.seed << 32) + torch.arange(rows, device=device) + rows),
    ],
)
def test_shared_noise_is_seen(of_constant, monkeypatch, name, spoiled):
    assert of_constant[name]() is None
    monkeypatch.setattr(Sampling, "seeds", spoiled)
    assert of_constant[name]() is not None


def test_a_wrong_temperature_is_seen(of_constant, monkeypatch):
    init = Decoder.__init__

    def warmer(self, model, cache, tokens, lengths, sampling, stop=()):
        init(
            self,
            model,
            cache,
            tokens,
            lengths,
            Sampling(1.4 * sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed),
            stop,
        )

    monkeypatch.setattr(Decoder, "__init__", warmer)
    assert "chi-square" in of_constant["distribution"]()
