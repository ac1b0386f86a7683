"""A prefill graph: prompts up to a length give HF's logits; what does not fit is refused."""

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models.engine import Engine
from braidcheck.models.prefill_graph import PrefillGraph

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
