"""KL to HF of whole logits and of a server's best alone, and answers beside HF's."""

from dataclasses import replace

import pytest

from braidcheck.engines.client import Top
from braidcheck.gates.surfaces.truth import Circumstances, Request, divergences, prefill_outcome, tokens_outcome
from tests.engines import tiny


@pytest.fixture
def text():
    return tiny.texts()[5]


@pytest.fixture
def logits(text):
    return tiny.forward(tuple(text.ids.tolist()))


def best(logits, count):
    values = logits.log_softmax(-1).topk(count)
    return Top(values.indices.int(), values.values)


def test_hf_itself_is_at_no_distance(text, logits):
    engine, floor = divergences(text, 0, logits)
    assert float(engine.abs().max()) < 1e-6
    assert float(floor.mean()) > 1e-5


@pytest.mark.parametrize("count", [1, 5, 96])
def test_a_servers_best_are_enough_to_be_right_and_to_be_wrong(text, logits, count):
    engine, floor = divergences(text, 0, best(logits, count))
    assert float(engine.abs().max()) < 1e-6
    other, _ = divergences(text, 0, best(tiny.forward(tuple(text.ids.tolist()), theta=500.0), count))
    assert float((other / text.kl_limit).max()) > 1
    assert float(floor.mean()) > 1e-6


def test_rows_that_a_server_does_not_give_are_left_out(text, logits):
    top = best(logits, 5)
    top.ids[0] = -1
    outcome = prefill_outcome(Request(text, len(text)), top, 0, Circumstances())
    assert outcome["positions"] == len(text) - 1
    assert outcome["wrong_at"] is None


def test_stretches_are_what_the_text_says_and_hf_is_sure_of(text, logits):
    at = max(range(1, len(text)), key=lambda at: text.stretches[at])
    assert text.stretches[at] >= 3
    for step in range(text.stretches[at]):
        assert int(logits[at - 1 + step].argmax()) == int(text.ids[at + step])
    assert text.stretches[0] == text.stretches[len(text)] == 0


def test_no_answer_is_expected_behind_a_stop_token(text):
    at = max(range(1, len(text)), key=lambda at: text.stretches[at])
    stop = int(text.ids[at + 1])
    cut = replace(text, stops=(stop,))
    assert cut.stretches[at] <= 1


@pytest.mark.parametrize(
    ("got", "count", "wrong_at", "said"),
    [
        ([7, 8, 9], 3, None, ""),
        ([7, 0, 9], 3, 11, "token 2 after 10 is 0, HF is sure of 8"),
        ([7, 8], 3, 12, "gave 2 tokens after 10, not 3"),
        ([7, 8, 9, 1], 3, 13, "gave 4 tokens after 10, not 3"),
        ([7, 8, 9, 95], 6, None, ""),
        ([7, 8, 9, 1], 6, 14, "gave 4 tokens after 10, not 6, and the last is no stop"),
    ],
)
def test_answers_beside_what_hf_is_sure_of(text, got, count, wrong_at, said):
    outcome = tokens_outcome(Request(text, 10), got, count, Circumstances(), expected=[7, 8, 9])
    assert (outcome["wrong_at"], outcome["what"]) == (wrong_at, said)
