"""``braidcheck soak`` and ``braidcheck list --bounds``."""

import json

import pytest

from braidcheck.cli import bounds, soak_models
from braidcheck.mutants import equivalents

SOAK = ("soak", "--op", "cache_write", "--pairs", "5", "--lane", "interpret")


@pytest.fixture
def file(tmp_path, monkeypatch, no_gpu):
    monkeypatch.setattr(bounds, "FILE", tmp_path / "bounds.json")
    return bounds.FILE


@pytest.fixture
def dishonest(monkeypatch):
    """One of the variants writes every token one slot early."""

    def early(k, v, k_cache, v_cache, rows, slots):
        honest_ones["flat"](k, v, k_cache, v_cache, rows, (slots - 1) % k_cache.shape[1])

    honest_ones = equivalents.find("cache_write")
    monkeypatch.setattr(equivalents, "find", lambda op: honest_ones | {"early": early})


def test_equivalent_implementations_pass(run, file):
    completed = run(*SOAK, "--json")
    body = json.loads(completed.out)
    assert (completed.code, body["status"], body["lane"]) == (0, "pass", "interpret")
    assert {verdict["metrics"]["pairs"] for verdict in body["verdicts"]} == {5}
    assert not file.exists()


def test_wrong_variant_fails(run, file, dishonest):
    completed = run(*SOAK)
    assert completed.code == 1
    assert "early of cache_write reaches an error ratio of inf" in completed.out


def test_the_bounds_are_published_and_read(run, refused, file):
    refused(2, "braidcheck soak --save", "list", "--bounds")
    assert run(*SOAK, "--save").code == 0
    completed = run("list", "--bounds")
    assert completed.code == 0
    assert "5 pairs per op" in completed.out
    assert "braidcheck soak --pairs 5 --lane interpret --op cache_write --save" in completed.out
    assert "PyTorch baseline" in completed.out
    entry = json.loads(run("list", "--bounds", "--json").out)["lanes"]["interpret"]["cache_write"]
    assert (entry["pairs"], len(entry["functions"])) == (5, 6)


def test_another_op_and_lane_stay_when_one_is_published_again(file):
    one = {"op": "a", "pairs": 1, "functions": [{"function": "kernel", "error_ratio": float("inf")}]}
    bounds.publish("interpret", [one, one | {"op": "b"}], "first")
    bounds.publish("interpret", [one | {"pairs": 2}], "second")
    entries = bounds.read()["interpret"]
    assert {op: (entry["pairs"], entry["command"]) for op, entry in entries.items()} == {
        "a": (2, "second"),
        "b": (1, "first"),
    }
    assert entries["a"]["functions"][0]["error_ratio"] == "inf"


def test_a_file_of_another_format_is_refused(refused, file):
    file.write_text('{"format": 99}')
    refused(2, "format 99", "list", "--bounds")


def test_mistakes_are_said(refused, file):
    refused(2, "no op 'nothing'", "soak", "--op", "nothing")
    refused(3, "--lane gpu cannot run here", "soak", "--lane", "gpu")


def test_sizes_are_drawn_and_published_nowhere(run, refused):
    completed = run("soak", "--lane", "interpret", "--op", "rms_norm", "--sizes", 2, "--seed", 3, "--json")
    (verdict,) = json.loads(completed.out)["verdicts"]
    assert (completed.code, verdict["gate"], verdict["status"]) == (0, "sizes", "pass")
    assert max(verdict["metrics"]["largest"].values()) > 4000
    refused(2, "omit --save", "soak", "--lane", "interpret", "--op", "rms_norm", "--sizes", 2, "--save")


def test_random_models_are_evaluated_and_saved(run, no_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(soak_models, "together", lambda work, tasks, workers: map(work, tasks))
    completed = run("soak-models", "--runs", "2", "--lane", "interpret", "--save", tmp_path / "models.json")
    assert completed.code == 0, completed.out
    assert "0 of 2 whole models" in json.loads((tmp_path / "models.json").read_text())["verdict"]["message"]
    assert "pass 0 of 2 whole models" in completed.out


def test_a_refused_model_fails_the_soak(run, no_gpu, monkeypatch):
    model = {"seed": 1, "attention": "fused", "storage": "bfloat16", "functions": {"lm_head": "split"}, "tokens": 9}
    model |= {"checks": {"kl": ["fail", 3.0]}, "refused": ["nano: kl: far off"], "raised": None}
    monkeypatch.setattr(soak_models, "together", lambda work, tasks, workers: [model])
    completed = run("soak-models", "--runs", "1", "--lane", "interpret")
    assert completed.code == 1
    assert (
        "fail 1 of 1 whole models of equivalent implementations were refused; first seed 1: nano: kl: far off"
        in completed.out
    )
