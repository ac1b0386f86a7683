"""The layer gate from plain data."""

import pytest

from braidcheck.gates import layers
from braidcheck.gates.gate import Fixtures, Trial
from braidcheck.gates.layers import measure
from braidcheck.result import Status


def evaluated(engine, floor):
    (verdict,) = layers.evaluate([{"layer": 3, "mode": "decode", "engine": engine, "hf_bf16": floor}], "gpu")
    return verdict


@pytest.mark.parametrize(("engine", "status"), [(0.01, Status.PASS), (0.03, Status.PASS), (0.031, Status.FAIL)])
def test_half_as_much_again_as_hf_is_the_limit(engine, status):
    assert evaluated(engine, 0.02).status == status


@pytest.mark.parametrize(("engine", "floor"), [(float("nan"), 0.02), (float("inf"), 0.02), (0.01, 0.0)])
def test_what_is_no_number_fails(engine, floor):
    assert evaluated(engine, floor).status == Status.FAIL


def test_message_names_layer_and_mode():
    assert "layer 3 in decode is 0.1 from HF float32, 5.00x" in evaluated(0.1, 0.02).message


def test_every_layer_is_expected():
    assert len(layers.CHECKS) == 56
    assert evaluated(0.1, 0.2).subject in layers.CHECKS


@pytest.mark.parametrize(("engine", "expected"), [(0.02, None), (0.1, "layer 0 in decode is 0.1 from HF float32")])
def test_a_mutant_meets_one_layer_of_full_size(engine, expected, monkeypatch):
    def measured(device, config, tokens):
        assert (device, config.num_hidden_layers, config.hidden_size, tokens) == ("cpu", 1, 1024, 66)
        return [{"layer": 0, "mode": "decode", "engine": engine, "hf_bf16": 0.02}]

    monkeypatch.setattr(measure, "measure_layers", measured)
    ((subject, check),) = measure.trial_checks(Trial({}, "cpu", {}, Fixtures()))
    assert subject == layers.MODEL
    said = check()
    assert said is None if expected is None else expected in said
