"""On a GPU: every baseline runs, computes the model and is timed; a wrong one is refused at every context."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.benchmarks import BRAIDCHECK
from braidcheck.benchmarks.answers import answer, mismatch
from braidcheck.benchmarks.backends import HFGenerate, seeded_start
from braidcheck.benchmarks.decode import Setting, measure_decode
from braidcheck.benchmarks.ops import measure_ops
from braidcheck.benchmarks.prefill import HF, SERIAL, measure_prefill
from braidcheck.benchmarks.profile import measure_phases
from braidcheck.benchmarks.speed import models
from braidcheck.gates.layers.measure import SEED, hf_model
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.synthetic import synthetic_tensors

pytestmark = pytest.mark.gpu


def test_every_baseline_decodes_the_model(config):
    seen = measure_decode([Setting(2, 300)], "cuda", with_baselines=True, config=config)
    assert len(seen["rows"]) == 5
    assert [row for row in seen["rows"] if "rate" not in row] == []


def test_theta_10000_is_refused_at_the_real_shape(altered):
    engine, hf = models(QWEN3_0_6B, "cuda")
    exact = hf_model(QWEN3_0_6B, synthetic_tensors(QWEN3_0_6B, SEED, "cuda"), torch.float32, "cuda")
    for setting in (Setting(1, 128), Setting(1, 32768)):
        start = seeded_start(QWEN3_0_6B, setting.batch, setting.filled, setting.capacity, "cuda")
        with torch.no_grad():
            truth, floor = (answer(HFGenerate(model, start), start) for model in (exact, hf))
            assert mismatch(answer(altered(engine, start), start), truth, floor) == ""
            assert "from HF's" in mismatch(answer(altered(engine, start, rope_theta=1e4), start), truth, floor)


def test_prefill_is_timed_with_hf(config):
    rows = measure_prefill([100], "cuda", with_baselines=True, config=config)["rows"]
    assert [row["subject"] for row in rows] == [BRAIDCHECK, SERIAL, HF]
    assert all(row["rate"]["median"] > 0 for row in rows)


def test_a_steps_kernels_are_seen(config):
    seen = measure_phases(Setting(1, 300), "cuda", config=config)
    assert {"lm_head", "gate_up_silu"} <= {row["op"] for row in seen["rows"]}
    assert sum(row["launches"] for row in seen["rows"] if row["op"] == "lm_head") >= 1


def test_op_is_timed_with_baselines():
    seen = measure_ops({"rms_norm_qkv": kernels.find()["rms_norm_qkv"]}, with_baselines=True)
    for found in seen["series"].values():
        assert set(found["subjects"]) == {"braidcheck", "eager", "torch.compile", "cuBLAS alone"}
        assert all("seconds" in subject for subject in found["subjects"].values())
