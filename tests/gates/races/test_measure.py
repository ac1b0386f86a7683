"""Ops and decode steps: without a fault no race, and one for each barrier, wait or trigger that is taken away."""

import subprocess
import sys
from functools import partial

import pytest
import torch
import triton.language as tl

from braidcheck import kernels, models
from braidcheck.gates.races import measure, steps
from braidcheck.gates.races.recording import recorded
from braidcheck.kernels.common import pdl
from braidcheck.numerics.calls import run
from braidcheck.settings import PRODUCTION

OPS = kernels.find()
SPLIT = next(case for case in OPS["decode_attention"].cases if (case["B"], case["S"]) == (1, 700))
(ARCHITECTURE,) = [model for model in models.find().values() if model.name == "qwen3"]


def race(op, case):
    return measure.case_race(OPS[op], case)


def first(op):
    return measure.race_cases(OPS[op])[0]


@pytest.mark.parametrize("op", ["decode_attention", "linear_residual", "sample", "cache_write"])
def test_ops_have_no_race(op):
    assert race(op, first(op)) is None


def test_a_missing_barrier_is_found(monkeypatch):
    assert race("decode_attention", SPLIT) is None
    monkeypatch.setattr(tl, "debug_barrier", lambda: None)
    assert race("decode_attention", SPLIT).endswith(": no barrier between the store and the atomic")


@pytest.mark.parametrize("op", ["linear_residual", "gate_up_silu", "rms_norm_qkv", "lm_head", "decode_attention"])
def test_a_missing_wait_is_found(monkeypatch, op):
    monkeypatch.setattr(pdl, "grid_dependency_wait", lambda USE_PDL: None)
    assert "never wait for the upstream launches" in race(op, first(op))


def test_decode_steps_have_no_race_and_miss_a_trigger(monkeypatch):
    step = steps.Step(PRODUCTION, 1, torch.float32)
    assert steps.step_race(ARCHITECTURE, step) is None
    monkeypatch.setattr(pdl, "launch_dependents", lambda USE_PDL: None)
    assert "never let the next launch begin" in steps.step_race(ARCHITECTURE, step)


@pytest.mark.parametrize("op", OPS)
def test_a_launch_has_several_programs(op):
    inputs = OPS[op].inputs(measure.race_cases(OPS[op])[-1], "cpu")
    found = measure.recordings(partial(run, OPS[op], OPS[op].call, inputs), partial(measure.small_blocks, op))
    assert any(len(launch.programs) > 1 for launches in found for launch in launches)


def test_a_recording_leaves_the_interpreter_as_it_was():
    from triton.runtime.interpreter import InterpreterBuilder

    before = dict(vars(InterpreterBuilder)), pdl.launch_arch
    with recorded():
        assert pdl.launch_options() == {"USE_PDL": True, "launch_pdl": True}
    assert (dict(vars(InterpreterBuilder)), pdl.launch_arch) == before
    assert pdl.launch_options() == {"USE_PDL": False}


RECORDS = """
import sys

import torch

from braidcheck.gates.races.recording import recorded

with recorded() as launches:
    torch.ones(3) + 1
assert any("add" in str(launch) for launch in launches)
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.usefixtures("fresh_python")
def test_recording_imports_no_compiler():
    assert subprocess.run([sys.executable, "-c", RECORDS], check=False).returncode == 0
