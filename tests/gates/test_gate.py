"""What a gate says of itself: lanes, workers, and which ops a run asks for."""

import pytest

from braidcheck import environment, kernels
from braidcheck.gates.gate import Gate, chosen_ops
from braidcheck.settings import Settings


def made(**more):
    return Gate(name="demo", question="Is it so?", subjects=lambda _settings: [], run=lambda *_: (), **more)


def test_a_gate_claims_nothing_by_itself():
    gate = made()
    flags = ("per_op", "runs_kernels", "shared", "timed", "has_headroom", "detects_mutants", "in_one_worker")
    assert not any(getattr(gate, flag) for flag in flags)
    assert (gate.needs_gpu, gate.stand_in, gate.timeout_s, gate.lanes) == ("", "", None, ("interpret", "gpu"))
    assert gate.gpu_memory("subject") is None


@pytest.mark.parametrize(
    ("flags", "in_one_worker"), [({"shared": True}, True), ({"timed": True}, True), ({"per_op": True}, False)]
)
def test_what_is_measured_once_or_timed_has_one_worker(flags, in_one_worker):
    assert made(**flags).in_one_worker is in_one_worker


def test_mutants_meet_what_has_trial_checks():
    assert made(load_trial_checks=lambda: iter).detects_mutants is True


def test_a_gate_that_needs_a_gpu_says_why_it_is_skipped(monkeypatch):
    monkeypatch.setattr(environment, "why_no_triton", lambda: None)
    gate = made(needs_gpu="no GPU")
    assert gate.lanes == ("gpu",)
    assert (gate.why_not("interpret"), gate.why_not("gpu"), made().why_not("interpret")) == ("no GPU", "", "")
    monkeypatch.setattr(environment, "why_no_triton", lambda: "no Triton")
    assert (gate.why_not("interpret"), gate.why_not("gpu")) == ("no GPU", "no Triton")


def test_a_run_asks_for_all_ops_or_those_that_are_named(monkeypatch):
    monkeypatch.setattr(kernels, "find", lambda: {"a": 1, "b": 2})
    assert chosen_ops(Settings("interpret", "out")) == {"a": 1, "b": 2}
    assert chosen_ops(Settings("interpret", "out", ops=("b",))) == {"b": 2}


def test_a_gate_of_the_interpreter_says_why_a_gpu_skips_it(monkeypatch):
    monkeypatch.setattr(environment, "why_no_triton", lambda: None)
    gate = made(needs_interpreter="compiled")
    assert gate.lanes == ("interpret",)
    assert (gate.why_not("interpret"), gate.why_not("gpu")) == ("", "compiled")
