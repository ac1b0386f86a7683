"""Answers: ragged batches, sampling, stops, streams and chunks on the tiny model; what is refused, and why."""

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.models import memory
from braidcheck.models.decode import Decoder
from braidcheck.models.engine import Engine
from braidcheck.models.qwen3.attention import BACKENDS
from braidcheck.models.sampling import Sampling

IDS = torch.randint(0, 70, (19,), generator=torch.Generator().manual_seed(4)).tolist()
PROMPTS = [IDS[:7], IDS[:1], IDS]
WARM = Sampling(temperature=0.9, top_k=30, top_p=0.95, seed=3)


@pytest.fixture(scope="module")
def engine(tiny):
    return Engine.load(tiny, dtype=torch.float32)


@pytest.fixture
def free(monkeypatch):
    def put(count):
        monkeypatch.setattr(memory, "free_bytes", lambda device: count)

    return put


@pytest.mark.parametrize("attention", BACKENDS)
def test_a_ragged_batch_is_each_prompt_alone(tiny, attention):
    engine = Engine.load(tiny, dtype=torch.float32, attention=attention)
    assert engine.generate(PROMPTS, 4) == [engine.generate(prompt, 4) for prompt in PROMPTS]


def test_prompts_may_be_tensors_and_one_alone_stays_one(engine):
    expected = engine.generate(IDS[:7], 3)
    assert engine.generate(torch.tensor(IDS[:7]), 3) == expected
    assert engine.generate([torch.tensor(IDS[:7])], 3) == engine.generate(torch.tensor([IDS[:7]]), 3) == [expected]
    assert engine.generate(PROMPTS, 0) == [[], [], []]


def test_the_same_seed_draws_the_same_and_another_others(engine):
    first = engine.generate(PROMPTS, 4, WARM)
    assert engine.generate(PROMPTS, 4, WARM) == first
    assert engine.generate(PROMPTS[0], 4, WARM) == first[0]
    assert engine.generate(PROMPTS, 4, Sampling(0.9, 30, 0.95, seed=4)) != first
    one, other = engine.generate([IDS[:7]] * 2, 4, Sampling(temperature=3.0))
    assert one != other


def test_the_last_top_k_of_one_is_greedy(engine):
    assert engine.generate(PROMPTS, 3, Sampling(temperature=5.0, top_k=1)) == engine.generate(PROMPTS, 3)


def test_an_answer_ends_with_its_stop_token(engine):
    plain = engine.generate(PROMPTS, 5)
    stop = plain[0][2]
    ended = engine.generate(PROMPTS, 5, stop=(stop,))
    for answer, whole in zip(ended, plain, strict=True):
        assert answer == (whole[: whole.index(stop) + 1] if stop in whole else whole)
    assert len(ended[0]) <= 3


def test_when_all_rows_have_stopped_no_step_is_run(engine, monkeypatch):
    stop = tuple(set(engine.generate(PROMPTS[:2], 2)[0] + engine.generate(PROMPTS[:2], 2)[1]))
    steps = []
    step = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: steps.append(1) or step(self))
    monkeypatch.setattr("braidcheck.models.decode.STOP_CHECK_INTERVAL", 2)
    engine.generate(PROMPTS[:2], 20, stop=stop)
    assert len(steps) <= 2


def test_stream_matches_generate(engine):
    whole = engine.generate(IDS, 10, WARM)
    assert list(engine.stream(IDS, 10, WARM)) == whole
    stop = whole[4]
    assert list(engine.stream(IDS, 10, WARM, (stop,))) == whole[: whole.index(stop) + 1]


def test_a_stream_gives_its_first_tokens_before_the_last_are_decoded(engine, monkeypatch):
    steps = []
    step = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: steps.append(1) or step(self))
    stream = engine.stream(IDS, 30)
    next(stream)
    assert not steps
    next(stream)
    assert len(steps) == 8


@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("chunk", [1, pytest.param(7, marks=pytest.mark.numeric)])
def test_a_prompt_in_chunks_is_the_prompt(tiny, assert_hf, attention, chunk):
    engine = Engine.load(tiny, dtype=torch.float32, attention=attention)
    engine.model.prefill_chunk = chunk
    h = engine.model.prefill_into_cache(torch.tensor(IDS), engine.model.new_cache(1, len(IDS)))
    assert_hf(engine.model.logits(h), torch.tensor(IDS), slice(-1, None))


def test_a_context_may_be_as_long_as_the_model_has_positions(engine):
    prompt = IDS * 3
    assert len(engine.generate(prompt, 64 - 57)) == 64 - 57
    with pytest.raises(UserError, match="65 tokens are more than the model's 64 positions"):
        engine.generate(prompt, 65 - 57)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([3, 70], 1), "token 70 is not one of the model's 70"),
        (([[3], [-1]], 1), "token -1 is not one"),
        (([[3], []], 1), "an empty prompt"),
        (([], 1), "an empty prompt"),
        ((torch.empty(0, 5, dtype=torch.int64), 1), "no prompt: give at least one"),
        ((torch.tensor([1.7, 2.2]), 1), "a prompt of torch.float32: give its ids as int32 or int64"),
        ((torch.tensor([True]), 1), "a prompt of torch.bool"),
        (([[[3]]], 1), "a prompt is a list of ids"),
        (([3], -1), "-1 new tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(engine, given, said):
    with pytest.raises(UserError, match=said) as caught:
        engine.generate(*given)
    assert "\n" not in str(caught.value)


def test_a_stream_is_of_one_prompt_and_refused_at_once(engine):
    for prompt, said in (([[3], [4]], "a prompt is a list of ids"), ([], "an empty prompt")):
        with pytest.raises(UserError, match=said):
            engine.stream(prompt, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": 1e-38}, "temperature 1e-38: .* from 1.18e-38 to 1.7e"),
        ({"temperature": 2.0**127 * 1.01}, "temperature 1.7"),
        ({"top_k": -1}, "top_k -1"),
        ({"top_k": 5.0}, "top_k 5.0"),
        ({"top_k": True}, "top_k True"),
        ({"top_k": 2**30 + 1}, "top_k 1073741825"),
        ({"top_k": 2.5}, "top_k 2.5"),
        ({"top_p": 0}, "top_p 0"),
        ({"top_p": 1.01}, "top_p 1.01"),
        ({"top_p": 1e-38}, "top_p 1e-38"),
        ({"seed": 3.0}, "seed 3.0"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**31}, "seed 2147483648"),
        ({"temperature": 0.0, "top_p": 0.9}, "do nothing at temperature 0"),
        ({"temperature": 0.0, "top_k": 5}, "do nothing at temperature 0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        Sampling(**({"temperature": 1.0} | given))


def test_memory_is_asked_for_before_it_is_taken(engine, tiny, free):
    cache = engine.model.new_cache(2, 30)
    taken = sum(part.nbytes for part in (*cache.k, *cache.v))
    assert memory.kv_cache_bytes(engine.model.config, 2, 30, torch.float32) == taken
    needed = taken + memory.activation_bytes(engine.model.config, 30, 2)
    free(needed)
    engine.model.new_cache(2, 30)
    free(needed - 1)
    with pytest.raises(UserError, match=r"2 rows of 30 tokens need 0\.00 GiB, .* free on cpu: give fewer rows"):
        engine.model.new_cache(2, 30)
    free(memory.kv_cache_bytes(engine.model.config, 1, 64, torch.float32))
    with pytest.raises(UserError, match="1 row of 64 tokens"):
        engine.model.new_cache(1, 64)
    free(memory.weight_bytes(engine.model.config.tensor_shapes(), torch.bfloat16) - 1)
    with pytest.raises(UserError, match=r"the weights need .* take a GPU with more memory"):
        Engine.load(tiny)
    free(memory.weight_bytes(engine.model.config.tensor_shapes(), torch.bfloat16))
    Engine.load(tiny)


def test_the_real_models_needs(engine):
    """114,688 bytes per token of context, 1.19 GB of weights and the stacked ones again."""
    from braidcheck.models.qwen3.architecture import QWEN3_0_6B

    assert memory.kv_cache_bytes(QWEN3_0_6B, 1, 1, torch.bfloat16) == 114688
    assert 1.19e9 < memory.weight_bytes(QWEN3_0_6B.tensor_shapes(), torch.bfloat16) < 2 * 1.2e9


def test_of_a_cpus_memory_nothing_is_said():
    assert memory.free_bytes(torch.device("cpu")) is None
