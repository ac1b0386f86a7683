"""On a GPU: the captured decode step gives the bits of the serial one, every time; what does not fit is refused."""

from dataclasses import replace

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.attention import BACKENDS
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights
from braidcheck.models.sampling import GREEDY, Sampling

pytestmark = pytest.mark.gpu

IDS = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4)).tolist()
WARM = Sampling(temperature=1.2, top_k=40, top_p=0.95, seed=5)
STEPS = 40  # past one look of the host at whether all rows have stopped


@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("lengths", [(19,), (7, 1, 19)], ids=["alone", "ragged"])
@pytest.mark.parametrize("stopping", [False, True], ids=["to the end", "stop"])
def test_the_graph_gives_the_bits_of_the_serial_steps(tiny, attention, sampling, lengths, stopping):
    engine = Engine.load(tiny, "cuda", attention=attention)
    rows = [torch.tensor(IDS[:length], device="cuda") for length in lengths]

    def decoder(stop=()):
        cache = engine.model.new_cache(len(rows), 64)
        h = torch.cat([engine.model.prefill_into_cache(row, cache.row(number)) for number, row in enumerate(rows)])
        seq_lens = torch.tensor(lengths, device="cuda")
        tokens = engine.model.next_tokens(h, sampling, sampling.seeds(len(rows), "cuda"), seq_lens)
        return Decoder(engine.model, cache, tokens, seq_lens, sampling, stop), cache

    def serial(stop=()):
        plain, cache = decoder(stop)
        found = []
        for _ in range(STEPS):
            plain.step()
            found.append(plain.tokens.clone())
        return torch.stack(found, dim=1), plain, cache

    stop = serial()[0][:, 5].tolist() if stopping else ()
    expected, plain, untouched = serial(stop)
    for _ in range(2):
        recorded, cache = decoder(stop)
        assert torch.equal(recorded.run(STEPS), expected)
        assert torch.equal(recorded.seq_lens, plain.seq_lens)
        if stopping:  # once all have stopped no step is run, and none is needed
            continue
        for one, other in zip((*cache.k, *cache.v), (*untouched.k, *untouched.v), strict=True):
            assert torch.equal(one.view(torch.int16), other.view(torch.int16))


def test_the_host_sees_that_all_rows_have_stopped(tiny, monkeypatch):
    engine = Engine.load(tiny, "cuda")
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: replays.append(1) or replay(self))
    for _ in range(2):
        whole = engine.generate(IDS, 44)
    replays.clear()
    assert engine.generate(IDS, 44) == whole
    all_of_them = len(replays)
    replays.clear()
    assert engine.generate(IDS, 44, stop=whole[:1]) == whole[:1]
    assert len(replays) == 1  # the prompt's
    replays.clear()
    later = next(token for token in whole if token != whole[0])
    assert engine.generate(IDS, 44, stop=(later,)) == whole[: whole.index(later) + 1]
    assert len(replays) < all_of_them


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_requests_keep_their_bits_however_often_they_come(tiny, sampling):
    """The first is launched kernel by kernel, the second recorded, the third replayed; others come between."""
    engine = Engine.load(tiny, "cuda")
    expected = {}
    for _ in range(4):
        for length, count in ((19, 1), (19, 2), (7, 30), (19, 30), (1, 9)):
            found = engine.generate(IDS[:length], count, sampling)
            assert found == expected.setdefault((length, count), found)
    assert found[:1] == engine.generate(IDS[:1], 1, sampling)


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_a_batch_of_64_and_a_stream(tiny, sampling):
    engine = Engine.load(tiny, "cuda", torch.float32)
    prompts = [IDS[: 1 + number % 19] for number in range(64)]
    answers = engine.generate(prompts, 20, sampling)
    assert answers == engine.generate(prompts, 20, sampling)
    assert [len(answer) for answer in answers] == [20] * 64
    assert list(engine.stream(prompts[0], 20, sampling)) == engine.generate(prompts[0], 20, sampling)


def test_what_does_not_fit_is_refused_before_it_is_taken(tiny):
    engine = Engine.load(tiny, "cuda")
    before = torch.cuda.memory_allocated()
    with pytest.raises(UserError, match=r"10000000000 rows of 64 tokens need .* GiB are free on cuda"):
        engine.model.new_cache(10**10, 64)
    assert torch.cuda.memory_allocated() == before


def test_a_context_of_all_positions():
    """Two layers of the real shape: a prompt in chunks ends as the whole does, and its answer fills the last slot."""
    config = replace(QWEN3_0_6B, num_hidden_layers=2)
    engine = Engine(
        Qwen3Model(config, Weights.from_tensors(synthetic_tensors(config, 5, "cuda"), config, torch.bfloat16))
    )
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(0, config.vocab_size, (config.max_position_embeddings - 40,), generator=generator)
    ends = []
    for engine.model.prefill_chunk in (len(ids), 4096):
        ends.append(engine.model.prefill_into_cache(ids.cuda(), engine.model.new_cache(1, len(ids))).float())
    assert (ends[0] - ends[1]).norm() < 0.02 * ends[0].norm()
    for sampling in (GREEDY, WARM):
        answer = engine.generate(ids, 40, sampling)
        assert len(answer) == 40
    with pytest.raises(UserError, match="40961 tokens are more than the model's 40960 positions"):
        engine.generate(ids, 41)
