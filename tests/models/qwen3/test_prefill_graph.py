"""A prefill graph: prompts up to a length give HF's logits; what does not fit is refused."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models.engine import Engine
from braidcheck.models.model import Model
from braidcheck.models.prefill_graph import PrefillGraph, PrefillGraphs, padded_length

IDS = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4))


@pytest.mark.numeric
@pytest.mark.parametrize("length", [19, 7, 1])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_prompts_of_any_length_up_to_its_own_one_after_the_other(tiny, assert_hf, device, length):
    engine = Engine.load(tiny, device, torch.float32)
    cache = engine.model.new_cache(1, 24)
    graph = PrefillGraph(engine.model, cache, 19)
    for before in (IDS.flip(0)[:12], IDS):  # what an earlier prompt has left must not show
        graph.prefill_into_cache(before.to(device))
    found = graph.prefill_into_cache(IDS[:length].to(device))
    assert_hf(engine.model.logits(found), IDS[:length], slice(-1, None))
    assert cache.k[0][0, 19:].isnan().all()


def test_what_does_not_fit_is_refused(tiny):
    engine = Engine.load(tiny)
    cache = engine.model.new_cache(1, 8)
    for count in (9, 0):
        with pytest.raises(UserError, match="cache of 8"):
            PrefillGraph(engine.model, cache, count)
    for ids in (IDS[:6], IDS[:0]):
        with pytest.raises(UserError, match="give 1 to 5"):
            PrefillGraph(engine.model, cache, 5).prefill_into_cache(ids)


@pytest.mark.parametrize(
    ("count", "length"), [(1, 16), (16, 16), (17, 32), (128, 128), (129, 160), (500, 512), (513, 640), (4096, 4096)]
)
def test_lengths_are_padded_to_few(count, length):
    assert padded_length(count) == length


@pytest.fixture
def graphs(tiny, monkeypatch):
    """Graphs of a model that is said to use them; without a GPU their first launches, kernel by kernel, are run."""
    model = Engine.load(tiny, dtype=torch.float32, attention="reference").model
    model.use_cuda_graph = True
    monkeypatch.setattr(PrefillGraph, "_record", lambda self: pytest.fail("recorded"))
    return PrefillGraphs(model)


@pytest.mark.numeric
@pytest.mark.parametrize("chunk", [4096, 16])
def test_a_padded_prompt_goes_into_any_cache_and_no_further(graphs, assert_hf, chunk):
    graphs.model.prefill_chunk = chunk
    cache = graphs.model.new_cache(2, 24)
    found = graphs.prefill_into_cache(IDS, cache.row(1))
    assert_hf(graphs.model.logits(found), IDS, slice(-1, None))
    for part in cache.parts:
        assert part[:, 0].isnan().all()
        assert not part[:, 1, :19].isnan().any()
        assert part[:, 1, 19:].isnan().all()


def test_a_length_has_one_graph(graphs):
    cache = graphs.model.new_cache(1, 24)
    graphs.prefill_into_cache(IDS[:7], cache)
    graphs.prefill_into_cache(IDS[:18], cache)
    assert sorted(graphs.graphs) == [16, 32]
    with pytest.raises(pytest.fail.Exception, match="recorded"):
        graphs.prefill_into_cache(IDS[:9], cache)


def test_without_room_for_a_cache_of_its_own_a_prompt_goes_without_a_graph(graphs, monkeypatch):
    cache = graphs.model.new_cache(1, 24)

    def new_cache(self, *size):
        raise UserError("no room")

    monkeypatch.setattr(Model, "new_cache", new_cache)
    assert graphs.prefill_into_cache(IDS, cache).shape[0] == 1
    assert not cache.k[0][0, :19].isnan().any()
    assert not graphs.graphs


def test_threads_put_their_prompts_one_after_the_other(graphs, monkeypatch):
    inside, most = [], []
    plain = PrefillGraph.prefill_into_cache

    def prefill(self, ids):
        inside.append(ids)
        time.sleep(0.05)  # in which another thread comes in, if it may
        most.append(len(inside))
        inside.pop()
        self.compiled = False
        return plain(self, ids)

    monkeypatch.setattr(PrefillGraph, "prefill_into_cache", prefill)
    caches = [graphs.model.new_cache(1, 24) for _ in range(4)]
    with ThreadPoolExecutor(len(caches)) as pool:
        list(pool.map(lambda cache: graphs.prefill_into_cache(IDS, cache), caches))
    assert most == [1] * len(caches)
