"""Kept decoders: handed out to one request at a time, to requests like the one that left them, with an empty cache."""

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models.decode import Decoder
from braidcheck.models.decoders import MAX_KEPT, rounded_capacity
from braidcheck.models.engine import Engine
from braidcheck.models.model import Model
from braidcheck.models.sampling import GREEDY, Sampling

WARM = Sampling(temperature=0.7, seed=3)


@pytest.fixture
def engine(tiny):
    return Engine.load(tiny, dtype=torch.float32, attention="reference")


@pytest.fixture
def keep(engine):
    """Leaves a decoder of so many rows and slots."""

    def keep(rows=1, slots=64, sampling=GREEDY, stop=()):
        tokens = torch.arange(rows)
        decoder = Decoder(engine.model, engine.model.new_cache(rows, slots), tokens, tokens, sampling, stop)
        engine.decoders.keep(decoder)
        return decoder

    return keep


@pytest.mark.parametrize(("slots", "capacity"), [(1, 64), (64, 64), (65, 128), (513, 640), (2048, 2048), (2049, 2560)])
def test_capacities_are_rounded_to_few(slots, capacity):
    assert rounded_capacity(slots) == capacity


def test_a_decoder_is_taken_once_and_its_cache_is_empty(engine, keep):
    decoder = keep()
    for part in decoder.cache.parts:
        part.fill_(1.0)
    cache, found = engine.decoders.take(1, 40, GREEDY, ())
    assert found is decoder
    assert cache is decoder.cache
    assert all(part.isnan().all() for part in cache.parts)
    assert engine.decoders.take(1, 40, GREEDY, ())[1] is None


@pytest.mark.parametrize("other", [(2, 40, GREEDY, ()), (1, 40, WARM, ()), (1, 40, GREEDY, (5,))], ids=str)
def test_another_kind_of_request_gets_a_cache_of_its_own(engine, keep, other):
    decoder = keep()
    cache, found = engine.decoders.take(*other)
    assert found is None
    assert cache is not decoder.cache


def test_another_seed_is_the_same_kind_of_request(engine, keep):
    keep(sampling=WARM)
    assert engine.decoders.take(1, 40, Sampling(temperature=0.7, seed=4), ())[1] is not None


def test_the_one_unused_for_longest_goes(engine, keep):
    decoders = [keep(rows=rows) for rows in range(1, MAX_KEPT + 2)]
    assert engine.decoders.kept == decoders[1:]


def test_kept_caches_make_room_for_a_request(engine, keep, monkeypatch):
    keep()
    plain = Model.new_cache

    def new_cache(self, rows, capacity):
        if engine.decoders.kept or rows > 2:
            raise UserError("no room")
        return plain(self, rows, capacity)

    monkeypatch.setattr(Model, "new_cache", new_cache)
    cache, found = engine.decoders.take(2, 40, GREEDY, ())
    assert (cache.capacity, found, engine.decoders.kept) == (40, None, [])
    with pytest.raises(UserError, match="no room"):
        engine.decoders.take(3, 40, GREEDY, ())


def test_requests_one_after_the_other_are_answered_as_by_a_new_engine(tiny, engine, monkeypatch):
    restarts = []
    plain = Decoder.restart
    monkeypatch.setattr(Decoder, "restart", lambda self, *given: (restarts.append(self), plain(self, *given)))
    for prompt, count, sampling, stop in (
        ([5, 6, 7], 9, WARM, ()),
        ([8] * 20, 4, Sampling(temperature=0.7, seed=4), ()),
        ([5, 6, 7], 9, WARM, ()),
    ):
        fresh = Engine.load(tiny, dtype=torch.float32, attention="reference")
        assert engine.generate(prompt, count, sampling, stop) == fresh.generate(prompt, count, sampling, stop)
    assert len(restarts) == 2


def test_a_stream_leaves_its_decoder_when_it_ends(engine):
    assert len(list(engine.stream([3, 4], 3))) == 3
    assert len(engine.decoders.kept) == 1
    next(engine.stream([3, 4], 3))
    assert engine.decoders.kept == []
