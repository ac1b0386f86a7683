"""Which decoders are the model: HF's other cache and our module are, those with a fault are not."""

import dataclasses

import pytest
import torch

from braidcheck.benchmarks.answers import answer, mismatch
from braidcheck.benchmarks.backends import BraidcheckDecoder, HFGenerate, HFStatic, seeded_start
from braidcheck.benchmarks.decode import Setting
from braidcheck.benchmarks.speed import models
from braidcheck.gates.layers.measure import SEED, hf_model
from braidcheck.models.qwen3.synthetic import synthetic_tensors

SETTING = Setting(2, 300)


@pytest.fixture
def known(config):
    """Engine and HF in bfloat16, the start, HF's answer in float32 and in bfloat16."""
    engine, hf = models(config, "cpu")
    exact = hf_model(config, synthetic_tensors(config, SEED, "cpu"), torch.float32, "cpu")
    start = seeded_start(config, SETTING.batch, SETTING.filled, SETTING.capacity, "cpu")
    with torch.no_grad():
        return engine, hf, start, answer(HFGenerate(exact, start), start), answer(HFGenerate(hf, start), start)


def said(known, subject):
    *_, start, truth, floor = known
    with torch.no_grad():
        return mismatch(answer(subject, start), truth, floor)


def test_decoders_match_model(known, altered):
    engine, hf, start, *_ = known
    static = HFStatic(hf, start, lambda function: function)
    for subject in (BraidcheckDecoder(engine, start), static, altered(engine, start)):
        assert said(known, subject) == "", type(subject).__name__


def test_theta_10000_is_refused_with_its_distance(known, altered):
    engine, _hf, start, *_ = known
    wrong = said(known, altered(engine, start, rope_theta=1e4))
    assert wrong.startswith("its K of layer 0 differ by ")
    assert "from HF's in float32" in wrong


def test_a_fault_in_the_last_layer_shows_in_the_logits(known, altered):
    engine, _hf, start, *_ = known
    *others, last = engine.weights.layers
    swapped = dataclasses.replace(last, q_norm=last.k_norm)
    wrong = said(known, altered(engine, start, layers=(*others, swapped)))
    assert wrong.startswith("its logits differ by ")


def test_a_loop_that_stays_where_it_is_is_refused(known, altered):
    engine, _hf, start, *_ = known
    still = altered(engine, start)
    still.step = lambda: still.tokens.copy_(still.logits().argmax(-1))
    assert said(known, still).startswith("its K of layer 0 differ by 0.8")


def test_other_tokens_are_refused(known):
    *_, truth, floor = known
    other = dataclasses.replace(truth, tokens=truth.tokens + 1)
    assert mismatch(other, truth, floor) == "its tokens are not HF's"
    assert mismatch(dataclasses.replace(truth, logits=truth.logits * torch.nan), truth, floor)
