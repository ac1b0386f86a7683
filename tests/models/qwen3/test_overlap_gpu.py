"""On a GPU: launches that overlap give the bits of launches in turn, though all they write was NaN beforehand."""

from dataclasses import replace

import pytest
import torch

from braidcheck.models.decode import STEPS_PER_GRAPH, Decoder
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights
from braidcheck.models.sampling import GREEDY, Sampling

pytestmark = pytest.mark.gpu

CONFIG = replace(QWEN3_0_6B, num_hidden_layers=6)
WARM = Sampling(temperature=0.9, top_k=50, top_p=0.9, seed=3)


@pytest.fixture(scope="module")
def model():
    tensors = synthetic_tensors(CONFIG, 8, "cuda")
    return Qwen3Model(CONFIG, Weights.from_tensors(tensors, CONFIG, torch.bfloat16))


@pytest.fixture
def made(monkeypatch):
    """All that wrappers allocate, kept alive: so no two of a graph's intermediates share memory."""
    tensors, plain = [], torch.empty

    def empty(*size, **options):
        tensors.append(plain(*size, **options))
        return tensors[-1]

    monkeypatch.setattr(torch, "empty", empty)
    return tensors


def begin(model, contexts, sampling):
    """A decoder behind caches of seeded numbers, filled up to each of ``contexts``."""
    cache = model.new_cache(len(contexts), max(contexts) + 4 * STEPS_PER_GRAPH)
    generator = torch.Generator("cuda").manual_seed(1)
    for tensor in (*cache.k, *cache.v):
        for row, context in enumerate(contexts):
            tensor[row, :context].normal_(generator=generator)
    tokens = torch.arange(7, 7 + len(contexts), device="cuda")
    return Decoder(model, cache, tokens, torch.tensor(contexts, device="cuda"), sampling), cache


@pytest.mark.parametrize("contexts", [(1,), (130,), (2100,), (5000,), (40, 700, 3), tuple(range(20, 36))], ids=str)
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_overlapping_launches_give_the_bits_of_launches_in_turn(model, made, contexts, sampling):
    plain, expected = begin(model, contexts, sampling)
    tokens = plain._serial(2 * STEPS_PER_GRAPH)
    decoder, cache = begin(model, contexts, sampling)
    decoder.run(STEPS_PER_GRAPH)  # records the graph, whose intermediates stay where they are
    for _ in range(3):
        again, untouched = begin(model, contexts, sampling)
        for name in ("tokens", "seq_lens", "finished"):
            getattr(decoder, name).copy_(getattr(again, name))
        for mine, fresh in zip((*cache.k, *cache.v), (*untouched.k, *untouched.v), strict=True):
            mine.copy_(fresh)
        for tensor in made:
            if tensor.is_cuda and tensor.is_floating_point():
                tensor.fill_(torch.nan)
        assert torch.equal(decoder.run(2 * STEPS_PER_GRAPH), tokens)
        for one, other in zip((*cache.k, *cache.v), (*expected.k, *expected.v), strict=True):
            assert torch.equal(one.view(torch.int16), other.view(torch.int16))
    assert not decoder.split_counter.any()
