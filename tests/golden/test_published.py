"""A recording of a model and a text whose perplexity is published must come near it."""

from math import exp, log
from types import SimpleNamespace

import pytest
import torch

from braidcheck.errors import GoldenError
from braidcheck.golden import published, texts
from braidcheck.golden.record import record
from braidcheck.golden.resolve import PINNED

VOCAB = 16


class Uniform:
    """A model that knows nothing: its perplexity is the size of its vocabulary."""

    max_tokens = 10

    def logits(self, ids):
        return torch.zeros(len(ids), VOCAB)


def tokenizer(text, **_options):
    return {"input_ids": [ord(letter) % VOCAB for letter in text]}


def figure(perplexity):
    return published.Figure("owner/model", "a text", perplexity, "a paper")


TEXT = SimpleNamespace(rows={"text": ["some words", "and others"]}, origin="a text")


@pytest.mark.parametrize("given", [VOCAB / 1.0099, VOCAB / 0.9901])
def test_one_percent_is_near_enough(given):
    found = published.check(figure(given), Uniform(), TEXT, tokenizer, lambda _line: None)
    assert found["perplexity"] == pytest.approx(VOCAB, rel=VOCAB * 2.0**-22)
    assert found["source"] == "a paper"


@pytest.mark.parametrize("given", [VOCAB / 1.0101, VOCAB / 0.9899])
def test_more_than_one_percent_is_refused(given):
    with pytest.raises(
        GoldenError, match=r"perplexity of owner/model on a text is 16, published is .* 1% apart"
    ) as caught:
        published.check(figure(given), Uniform(), TEXT, tokenizer, lambda _line: None)
    assert "\n" not in str(caught.value)


def test_all_of_the_text_is_read():
    said = []
    published.check(figure(VOCAB), Uniform(), TEXT, tokenizer, said.append)
    assert said[-1].endswith("window 3 of 3")  # 22 letters in windows of 10


def test_what_is_known_is_of_the_pinned_model_and_text():
    assert {one.model for one in published.FIGURES} <= PINNED.keys()
    assert published.of("Qwen/Qwen3-0.6B", texts.WIKITEXT_ORIGIN).perplexity == 23.864
    assert published.of("nano", texts.WIKITEXT_ORIGIN) is published.of("Qwen/Qwen3-0.6B", "file x") is None


@pytest.mark.parametrize("factor", [1.0, 1.02])
def test_a_recording_is_held_against_it(tmp_path, text, nano, recorded, monkeypatch, factor):
    from braidcheck.golden.store import load

    nll = load(recorded).tensors["nll.bfloat16"].double()
    known = published.Figure("nano", text.origin, factor * exp(nll.mean()), "this test")
    rows = [document.ids.tolist() for document in map(load(recorded).document, range(3))]
    monkeypatch.setattr(published, "windows", lambda *_: [texts.Document(tuple(ids)) for ids in rows])
    monkeypatch.setattr(published, "FIGURES", (known,))
    place = tmp_path / "golden"
    if factor == 1:
        golden = record(nano, text, place, device="cpu", model_id="nano")
        assert log(golden.manifest["published"]["perplexity"] / known.perplexity) == pytest.approx(
            0, abs=float(nll.max()) * 2.0**-23
        )  # each NLL is stored in float32
    else:
        with pytest.raises(GoldenError, match="published is"):
            record(nano, text, place, device="cpu", model_id="nano")
        assert not place.exists()
