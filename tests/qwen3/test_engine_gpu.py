"""On a GPU: the captured decode step gives the bits of the serial one, every time."""

import pytest
import torch

from braidcheck.qwen3.attention import ATTENTIONS, Step
from braidcheck.qwen3.decoder import Decoder
from braidcheck.qwen3.engine import Engine

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if name != "reference"])
def test_the_graph_gives_the_bits_of_the_serial_steps(tiny, attention):
    engine = Engine.load(tiny, "cuda", attention=attention)
    ids = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4)).cuda()

    def decoder():
        cache = engine.new_cache(1, 40)
        h = engine.forward(ids, Step.prompt(len(ids), "cuda"), cache)
        return Decoder(engine, cache, engine.next_tokens(h[-1:]), torch.tensor([len(ids)], device="cuda")), cache

    serial, expected = decoder()
    for _ in range(12):
        serial.step()
    for _ in range(3):
        graphed, cache = decoder()
        graphed.run(12)
        assert torch.equal(graphed.tokens, serial.tokens)
        for one, other in zip((*cache.k, *cache.v), (*expected.k, *expected.v), strict=True):
            assert torch.equal(one.view(torch.int16), other.view(torch.int16))
