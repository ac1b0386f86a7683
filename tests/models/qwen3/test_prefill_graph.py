"""A feeder: prompts up to a length give HF's logits; what does not fit is refused."""

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models.qwen3.engine import Engine
from braidcheck.models.qwen3.prefill_graph import Feeder

IDS = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4))


@pytest.mark.numeric
@pytest.mark.parametrize("length", [19, 7, 1])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_prompts_of_any_length_up_to_its_own_one_after_the_other(tiny, assert_hf, device, length):
    engine = Engine.load(tiny, device, torch.float32)
    cache = engine.new_cache(1, 24)
    feeder = Feeder(engine, cache, 19)
    for before in (IDS.flip(0)[:12], IDS):  # what an earlier prompt has left must not show
        feeder.feed(before.to(device))
    found = feeder.feed(IDS[:length].to(device))
    assert_hf(engine.logits(found), IDS[:length], slice(-1, None))
    assert cache.k[0][0, 19:].isnan().all()


def test_what_does_not_fit_is_refused(tiny):
    engine = Engine.load(tiny)
    cache = engine.new_cache(1, 8)
    for count in (9, 0):
        with pytest.raises(UserError, match="cache of 8"):
            Feeder(engine, cache, count)
    for ids in (IDS[:6], IDS[:0]):
        with pytest.raises(UserError, match="give 1 to 5"):
            Feeder(engine, cache, 5).feed(ids)
