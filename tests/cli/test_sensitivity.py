"""``braidcheck sensitivity``: what it measures, prints and writes, with measuring itself left out."""

import json

import pytest

from braidcheck import kernels
from braidcheck.cli import sensitivity


@pytest.fixture
def measured(monkeypatch, no_gpu):
    asked = []

    def measure(task):
        asked.append(task)
        gate, op, _lane = task
        on = {"gate": gate, "op": op, "on": "bfloat16, 2 cases", "fault": "one element", "least": 1.0, "largest": 16.0}
        return [on | {"smallest": None, "trials": 20, "counts": []}]

    monkeypatch.setattr(sensitivity, "together", lambda work, tasks, workers: map(measure, reversed(tasks)))
    return asked


def test_the_gates_that_a_cpu_can_ask_are_asked_for_every_op(run, measured, tmp_path):
    completed = run("sensitivity", "--lane", "interpret", "--save", tmp_path / "found.json")
    assert completed.code == 0
    assert "not detected up to 2^4" in completed.out
    assert {gate for gate, _op, _lane in measured} == {"accuracy", "coherence"}
    body = json.loads((tmp_path / "found.json").read_text())
    assert body["environment"]["libraries"]["torch"]
    assert len(body["faults"]) == len(measured) == 2 * len(kernels.find())


def test_one_op_is_printed_as_json(run, measured):
    body = json.loads(run("sensitivity", "--lane", "interpret", "--op", "lm_head", "--json").out)
    assert {row["op"] for row in body["faults"]} == {"lm_head"}
    assert body["command"] == "braidcheck sensitivity --lane interpret --op lm_head"


def test_mistakes_are_said(refused, no_gpu):
    refused(2, "no op 'nothing'", "sensitivity", "--op", "nothing")
    refused(3, "--lane gpu cannot run here", "sensitivity", "--lane", "gpu")


def test_failing_gate_differs_from_skipped_gate():
    fails = sensitivity._fails("coherence")
    assert not fails({"format": 1, "model": "nano"})
    runs = [{"changed_from": 3, "differing": 2, "first": 1, "later_changed": True}]
    assert fails({"format": 1, "model": "nano", "causality": runs})
