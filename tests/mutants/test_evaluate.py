"""A trial: its expected detector first; blame for the checks that failed in it, without running the model again."""

import pytest

from braidcheck.gates import coherence
from braidcheck.gates.coherence import trial
from braidcheck.gates.gate import Fixtures
from braidcheck.mutants import evaluate

TASK = {"gates": ["coherence"], "first": "", "blame": True, "ops": [], "overlay": "."}


@pytest.fixture
def seen(monkeypatch):
    """How often the model was measured, and for which checks blame was asked."""
    found = {"looks": 0, "asked": []}

    def measure(engine, golden):
        found["looks"] += 1
        if engine == "broken":
            raise RuntimeError("a kernel that raises")
        return {"failing": ["nll", "decode"]}

    def blame(engine, golden, checks, failing):
        found["asked"].append(list(checks))
        return {"ops": ["qkv_rope"], "layers": [0]}

    monkeypatch.setattr(trial, "measure_coherence", measure)
    monkeypatch.setattr(trial, "find_blame", blame)
    monkeypatch.setattr(coherence, "failing", lambda evidence: evidence["failing"])
    return found


def run(monkeypatch, engine):
    monkeypatch.setattr(trial, "engine", lambda trial: engine)
    return evaluate.first_kill(TASK, "cpu", {}, Fixtures(), lambda row: None)


def test_what_failed_is_searched_for(monkeypatch, seen):
    row = run(monkeypatch, "engine")
    assert (row["outcome"], row["blame"]) == ("killed", {"ops": ["qkv_rope"], "layers": [0]})
    assert seen == {"looks": 1, "asked": [["nll", "decode"]]}


def test_a_model_that_cannot_be_run_fails_any_check(monkeypatch, seen):
    assert run(monkeypatch, "broken")["blame"]["ops"] == ["qkv_rope"]
    assert seen == {"looks": 1, "asked": [["kl"]]}


def test_a_model_that_cannot_be_loaded_blames_no_op(monkeypatch, seen):
    def refuse(trial):
        raise ValueError("no weights")

    monkeypatch.setattr(trial, "engine", refuse)
    row = evaluate.first_kill(TASK, "cpu", {}, Fixtures(), lambda row: None)
    assert row["outcome"] == "killed"
    assert row["blame"] == {"ops": [], "layers": [], "error": "ValueError: no weights"}
    assert seen == {"looks": 0, "asked": []}


@pytest.mark.parametrize(("first", "asked"), [("", "ab"), ("b", "b"), ("gone", "ab")])
def test_expected_detector_runs_first(monkeypatch, first, asked):
    seen = []
    looks = [(name, lambda name=name: seen.append(name) or (name == "b" and "caught")) for name in "abc"]
    monkeypatch.setitem(evaluate.TRIAL_CHECKS, "coherence", lambda trial: iter(looks))
    row = evaluate.first_kill(TASK | {"first": first, "blame": False}, "cpu", {}, Fixtures(), lambda row: None)
    assert (row["outcome"], row["subject"], "".join(seen)) == ("killed", "b", asked)
