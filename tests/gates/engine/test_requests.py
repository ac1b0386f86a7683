"""Requests in turn: the engine passes, and what it keeps of one request for another is seen."""

from dataclasses import replace

import pytest

from braidcheck.errors import UserError
from braidcheck.gates.engine import requests
from braidcheck.models import decoders
from braidcheck.models.cache import KVCache
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.model import Model
from braidcheck.models.sampling import Sampling


@pytest.fixture
def checks(tinies):
    return dict(requests.request_checks(*tinies, "cpu"))


@pytest.mark.parametrize(
    "name",
    [
        *("requests in turn", "one setting apart", "two streams at once", "long, then short"),
        *("stops at borders", "all positions"),
    ],
)
def test_the_engine_passes(checks, name):
    assert checks[name]() is None


def test_a_cache_that_two_streams_share_is_seen(checks, monkeypatch):
    caches = {}
    plain = Model.new_cache
    monkeypatch.setattr(Model, "new_cache", lambda self, *size: caches.setdefault((id(self), size), plain(self, *size)))
    assert "streams in turns are" in checks["two streams at once"]()
    assert "a fresh engine gives" in checks["requests in turn"]()


def test_what_a_longer_prompt_has_left_is_seen(checks, monkeypatch):
    kept = []
    plain = Model.new_cache

    def new_cache(self, batch, capacity):
        found = next((cache for owner, cache in kept if owner is self and cache.capacity >= capacity), None)
        if found is None:
            found = plain(self, batch, capacity)
            kept.append((self, found))
        return KVCache(tuple(part[:, :batch, :capacity] for part in found.parts))

    monkeypatch.setattr(Model, "new_cache", new_cache)
    assert "are left in the cache" in checks["long, then short"]()


def test_a_sampler_that_remembers_is_seen(checks, monkeypatch):
    seeds, drawn = Sampling.seeds, []
    monkeypatch.setattr(Sampling, "seeds", lambda self, *given: (drawn.append(1), seeds(self, *given) + len(drawn))[1])
    assert "a fresh engine gives" in checks["requests in turn"]()


@pytest.mark.parametrize("name", requests.CHANGED_SETTINGS)
def test_a_setting_of_the_request_before_is_seen(checks, monkeypatch, name):
    """A graph that was recorded for one setting is used for another: on a CPU, a decoder that keeps its own."""
    key, restart = decoders._key, Decoder.restart
    if name == "stop":
        monkeypatch.setattr(decoders, "_key", lambda rows, capacity, sampling, stop: key(rows, capacity, sampling, ()))
    else:

        def alike(rows, capacity, sampling, stop):
            return key(
                rows, capacity, replace(sampling, **{name: getattr(Sampling(*requests.BASE_SAMPLING), name)}), stop
            )

        def kept(self, tokens, lengths, sampling):
            restart(self, tokens, lengths, replace(sampling, **{name: getattr(self.sampling, name)}))

        monkeypatch.setattr(decoders, "_key", alike)
        monkeypatch.setattr(Decoder, "restart", kept)
    assert f"next to a request of another {name} one gives" in checks["one setting apart"]()


def test_a_setting_that_changes_nothing_is_seen(checks, monkeypatch):
    monkeypatch.setitem(requests.CHANGED_SETTINGS, "top_p", 0.95)
    assert "top_p 0.95 changes nothing" in checks["one setting apart"]()


def test_a_dropped_stop_is_seen(checks, monkeypatch):
    stream = Engine._stream
    monkeypatch.setattr(Engine, "_stream", lambda self, decoder, count, stop: stream(self, decoder, count, stop[1:]))
    assert "a stream up to its token" in checks["stops at borders"]()


def test_a_position_too_few_is_seen(checks, monkeypatch):
    plain = Model.new_cache
    monkeypatch.setattr(Model, "new_cache", lambda self, batch, capacity: plain(self, batch, capacity + 1))
    with pytest.raises(UserError, match="641 tokens"):
        checks["all positions"]()
