"""Each dialect gives what its server computed; what it cannot give is left out, and nonsense is one line."""

import json
from itertools import product

import pytest

from braidcheck.engines.http import connect
from braidcheck.engines.http.client import Limits, ServerError
from braidcheck.errors import CheckpointError, UserError
from tests.engines.http.stand_in import MODEL, OWNERS, VOCABULARY, Bigram, StandIn, log_softmax

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
DIALECTS = list(OWNERS)
QUICK = Limits(retry_delays_s=())
FILTERS = {"temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.05, "seed": 11}
SGLANG_FILTERS = {
    "temperature": 0.7,
    "top_k": -1,
    "top_p": 0.9,
    "min_p": 0.05,
    "sampling_seed": 11,
    "max_new_tokens": 2,
}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY}))
    return str(tmp_path)


@pytest.fixture(params=DIALECTS)
def pair(request, directory):
    with StandIn(request.param) as server:
        yield server, connect(server.url, MODEL, directory, QUICK)


def greedy(ids, n):
    return Bigram().generate(ids, n)


def assert_is_truth(found, ids, shown):
    """All that is given is right, and enough is given: the ``shown`` best tokens and the prompt's next one."""
    assert len(found.ids) == len(found.logprobs) == len(ids)
    for place, row in enumerate(map(log_softmax, Bigram().prefill(ids))):
        got = dict(zip(found.ids[place], found.logprobs[place], strict=True))
        assert got == {token: row[token] for token in got}
        best = sorted(range(VOCABULARY), key=row.__getitem__, reverse=True)[:shown]
        assert set(got) == {*best, *ids[place + 1 : place + 2]}


def test_each_position_follows_its_token(pair):
    server, engine = pair
    shown = {"vllm": 20, "openai": 5}.get(server.dialect, VOCABULARY)
    assert_is_truth(engine.prefill(IDS), IDS, shown)
    assert_is_truth(engine.prefill([7]), [7], shown)


def test_prompts_of_a_batch_keep_their_places(pair):
    server, engine = pair
    prompts = [IDS, IDS[:3], [7]]
    shown = {"vllm": 20, "openai": 5}.get(server.dialect, VOCABULARY)
    for found, ids in zip(engine.prefill_batch(prompts), prompts, strict=True):
        assert_is_truth(found, ids, shown)
    assert engine.generate_batch(prompts, 3) == [greedy(ids, 3) for ids in prompts]


def test_greedy_answers_are_token_ids(pair):
    _, engine = pair
    assert engine.generate(IDS, 4) == greedy(IDS, 4)


@pytest.mark.parametrize("pair", ["vllm", "llama.cpp"], indirect=True)
def test_a_stream_gives_the_same_tokens(pair):
    _, engine = pair
    assert engine.stream(IDS, 5) == greedy(IDS, 5)


@pytest.mark.parametrize("fault", ["html", "500", "empty"])
@pytest.mark.parametrize("pair", ["vllm", "llama.cpp"], indirect=True)
def test_what_is_no_stream_is_no_empty_answer(pair, fault):
    server, engine = pair
    server.fault = fault
    with pytest.raises(ServerError):
        engine.stream(IDS, 5)


@pytest.mark.parametrize("pair", ["vllm", "sglang"], indirect=True)
def test_stop_tokens_end_an_answer(pair):
    _, engine = pair
    answer = greedy(IDS, 4)
    assert engine.generate(IDS, 4, stop=[answer[1]]) == answer[:2]


@pytest.mark.parametrize(
    ("pair", "sent"),
    [
        ("vllm", {**FILTERS, "max_tokens": 2}),
        ("llama.cpp", {**FILTERS, "n_predict": 2, "samplers": ["temperature", "top_k", "top_p", "min_p"]}),
        ("sglang", {"sampling_params": {**SGLANG_FILTERS, "max_new_tokens": 2}}),
    ],
    indirect=["pair"],
)
def test_sampling_is_asked_for_whole(pair, sent):
    server, engine = pair
    assert len(engine.sample(IDS, 2, **FILTERS)) == 2
    assert server.requests[-1][2].items() >= sent.items()


@pytest.mark.parametrize("pair", ["openai"], indirect=True)
def test_what_an_api_has_no_word_for_is_left_out(pair):
    assert not hasattr(pair[1], "sample")
    assert not hasattr(pair[1], "stream")


SAID = {
    "nan": "that are not numbers",
    "logits": "above 1: are these logits?",
    "foreign token": f"has {VOCABULARY} tokens: another one is served",
    "few positions": "log-probabilities of",
    "without": "answers without",
    "html": "not JSON",
    "500": "status 500: out of memory",
}


@pytest.mark.parametrize(
    ("pair", "fault"),
    # Each of llama.cpp's positions is a request of its own.
    [pair for pair in product(DIALECTS, SAID) if pair != ("llama.cpp", "few positions")],
    indirect=["pair"],
)
def test_nonsense_is_one_line(pair, fault):
    server, engine = pair
    server.fault = fault
    with pytest.raises(ServerError) as error:
        engine.prefill(IDS)
    assert SAID[fault] in str(error.value)
    assert "\n" not in str(error.value)
    server.fault = ""
    assert engine.generate(IDS, 1) == greedy(IDS, 1)  # and the next request is served again


@pytest.mark.parametrize("pair", ["vllm", "llama.cpp", "openai"], indirect=True)  # SGLang's answers name no model
def test_the_answer_of_another_model_is_refused(pair):
    server, engine = pair
    server.fault = "other model"
    with pytest.raises(ServerError, match="answers for tiny with the model another"):
        engine.generate(IDS, 1)


@pytest.mark.parametrize("pair", ["llama.cpp"], indirect=True)
def test_llama_cpp_shows_the_prompts_own_token_however_rare(pair):
    _, engine = pair
    engine._top = 2
    assert_is_truth(engine.prefill(IDS), IDS, 2)


@pytest.mark.parametrize("pair", ["llama.cpp"], indirect=True)
def test_a_part_of_a_character_is_an_empty_row(pair):
    server, engine = pair
    server.fault = "few positions"
    assert engine.prefill([7]).ids == [[]]


@pytest.mark.parametrize("pair", ["openai"], indirect=True)
def test_a_prompt_that_is_echoed_longer_is_refused(pair, monkeypatch):
    server, engine = pair
    honest = server._openai

    def with_first_token(body):
        return honest({**body, "prompt": [0, *body["prompt"]]})

    monkeypatch.setattr(server, "_openai", with_first_token)
    with pytest.raises(ServerError, match="echoes 9 tokens of a prompt of 8: does it prepend a token"):
        engine.prefill(IDS)


def test_a_level_that_is_refused_is_left_out(directory, monkeypatch):
    with StandIn("vllm") as server:
        monkeypatch.setattr(server, "_refuses", lambda top: (400, {"message": "no logprobs here"}))
        engine = connect(server.url, MODEL, directory, QUICK)
        assert engine.prefill is engine.prefill_batch is None
        assert engine.generate(IDS, 2) == greedy(IDS, 2)


def test_a_server_that_serves_neither_is_of_no_use(directory, monkeypatch):
    with StandIn("vllm") as server:
        monkeypatch.setattr(server, "_vllm", lambda body: (403, {"detail": "go away"}))
        with pytest.raises(
            ServerError, match=r"the server gives neither log-probabilities nor token ids: .* 403: go away$"
        ):
            connect(server.url, MODEL, directory, QUICK)


def test_the_only_model_needs_no_name(directory):
    with StandIn("vllm") as server:
        assert connect(server.url, "", directory, QUICK).model == MODEL


def test_a_name_that_is_not_served_is_a_usage_error(directory):
    with (
        StandIn("vllm") as server,
        pytest.raises(UserError, match="serves no model 'large': give --model-name one of tiny"),
    ):
        connect(server.url, "large", directory, QUICK)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with StandIn("vllm") as server, pytest.raises(CheckpointError, match=r"config\.json"):
        connect(server.url, MODEL, str(tmp_path), QUICK)
