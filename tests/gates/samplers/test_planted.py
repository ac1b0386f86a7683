"""A right sampler passes, planted faults are found in the settings that they spoil."""

from functools import partial

import pytest
import torch

from braidcheck.gates.samplers import critical_value, evaluate, measure
from braidcheck.gates.samplers.measure import NAMES, SETTINGS, Setting, allowed, kept, measure_samplers, place
from braidcheck.result import Status
from tests.engines import tiny


def verdicts(make):
    evidence = {"engine": "tiny", "model": "model", "draws": []}
    measure_samplers(tiny.client(make), tiny.texts(), tiny.hf, evidence, lambda text: None)
    return {verdict.subject.rpartition(": ")[2]: verdict for verdict in evaluate(evidence)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_right_sampler_passes(dtype):
    said = verdicts(partial(tiny.Right, dtype=dtype))
    assert list(said) == list(NAMES)
    assert {verdict.status for verdict in said.values()} == {Status.PASS}, said


@pytest.mark.parametrize(
    ("fault", "setting"),
    [
        (tiny.TemperatureIgnored, "temperature 2"),
        (tiny.TemperatureIgnored, "temperature 0.3"),
        (tiny.TopKIgnored, "top-k 3"),
        (tiny.OffByOne, "temperature 0.3"),
        (tiny.SeedIgnored, "seeds"),
        (tiny.IgnoresLastToken, "greedy tokens under HF"),
        (partial(tiny.Right, theta=500.0), "greedy tokens under HF"),
    ],
)
def test_a_planted_fault_is_found(fault, setting, monkeypatch):
    monkeypatch.setattr(measure, "SETTINGS", {name: SETTINGS[name] for name in SETTINGS if name == setting})
    assert verdicts(fault)[setting].status == Status.FAIL


def test_an_engine_without_a_sampler_is_skipped():
    class Greedy:
        def generate(self, ids, n):
            return tiny.Right().generate(ids, n)

    said = verdicts(Greedy)
    assert said["temperature 1"].message == "the engine has no sample"
    assert {said[name].status for name in SETTINGS} == {Status.SKIPPED}


def test_filters_keep_what_they_say():
    row = torch.tensor([3.0, 2.0, 1.0, 0.0])
    assert (kept(row, Setting(top_k=2)) > 0).tolist() == [True, True, False, False]
    assert (kept(row, Setting(top_p=0.7)) > 0).tolist() == [True, True, False, False]
    assert (kept(row, Setting(top_p=0.6)) > 0).tolist() == [True, False, False, False]
    assert (kept(row, Setting(min_p=0.2)) > 0).tolist() == [True, True, False, False]
    share, before, most = place(row, 1, Setting())
    assert before == most > share


@pytest.mark.parametrize("setting", [Setting(top_k=1), Setting(top_p=0.5), Setting(min_p=0.9)])
def test_noise_may_bring_a_near_token_inside_and_no_far_one(setting):
    row = torch.tensor([3.0, 2.9, 0.0, -1.0])
    assert allowed(row, 1, setting, apart=0.2)
    assert not allowed(row, 2, setting, apart=0.2)


def test_the_critical_value_is_chi_squares():
    assert critical_value(7) == pytest.approx(40.52, abs=0.005)
