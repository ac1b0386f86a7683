"""A model of known logits: the engine passes, and faults of the head and of the noise are seen."""

from dataclasses import replace

import pytest
import torch

from braidcheck.gates.engine import constant
from braidcheck.models.model import Model
from braidcheck.models.sampling import Sampling


@pytest.fixture
def of_constant(tinies):
    return dict((*constant.head_checks(tinies[0], "cpu"), *constant.draw_checks(tinies[0], "cpu")))


def padded(self, h, sampling=None, *given):
    head = torch.nn.functional.pad(self.weights.head, (0, 0, 0, -len(self.weights.head) % 1024))
    return self.ops.lm_head(h, self.weights.norm, head, self.config.rms_norm_eps, argmax=True)


def test_a_padded_head_is_seen(of_constant, monkeypatch):
    assert of_constant["negative logits"]() is None
    monkeypatch.setattr(Model, "next_tokens", padded)
    assert "negative logits the last is the best: 1 rows with {} are answered" in of_constant["negative logits"]()


def test_the_last_of_equal_logits_is_seen(of_constant, monkeypatch):
    assert of_constant["ties"]() is None
    monkeypatch.setattr(
        Model, "next_tokens", lambda self, h, *given: len(self.weights.head) - 1 - self.logits(h).flip(-1).argmax(-1)
    )
    assert "must be the first" in of_constant["ties"]()


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        ("distribution", lambda self, rows, device: torch.zeros(rows, dtype=torch.int64, device=device)),
        ("independence", lambda self, rows, device: (self.seed << 32) + torch.arange(rows, device=device) % 256),
        ("independence", lambda self, rows, device: (self.seed % 2**16 << 32) + torch.arange(rows, device=device)),
        ("seeds", lambda self, rows, device: (self.seed << 32) + torch.arange(rows, device=device) + rows),
    ],
)
def test_shared_noise_is_seen(of_constant, monkeypatch, name, spoiled):
    assert of_constant[name]() is None
    monkeypatch.setattr(Sampling, "seeds", spoiled)
    assert of_constant[name]() is not None


def test_a_wrong_temperature_is_seen(of_constant, monkeypatch):
    plain = Model.next_tokens

    def warmer(self, h, sampling, *given):
        return plain(self, h, replace(sampling, temperature=1.4 * sampling.temperature), *given)

    monkeypatch.setattr(Model, "next_tokens", warmer)
    assert "chi-square" in of_constant["distribution"]()


@pytest.mark.parametrize(
    ("said", "limited"),
    [
        (f"'temperature': {1 / constant.FAR}", lambda sampling: {"temperature": max(sampling.temperature, 1e-20)}),
        (f"'temperature': {constant.FAR}", lambda sampling: {"temperature": min(sampling.temperature, 1e20)}),
        ("'top_p': ", lambda sampling: {"top_p": sampling.top_p if sampling.top_p > 1e-6 else 1.0}),
        ("'top_k': 1", lambda sampling: {"top_k": sampling.top_k if sampling.top_k > 1 else 0}),
    ],
)
def test_a_limited_number_is_seen(of_constant, monkeypatch, said, limited):
    plain = Model.next_tokens
    monkeypatch.setattr(constant, "FILTERS", ())
    monkeypatch.setattr(
        Model, "next_tokens", lambda self, h, s, *given: plain(self, h, replace(s, **limited(s)), *given)
    )
    assert said in of_constant["distribution"]()


def test_a_greedy_answer_is_seen_where_a_draw_is_asked(of_constant, monkeypatch):
    monkeypatch.setattr(Sampling, "greedy", property(lambda self: self.temperature < 1e-2))
    assert f"with {{'temperature': {1 / constant.FAR}}}" in of_constant["distribution"]()
