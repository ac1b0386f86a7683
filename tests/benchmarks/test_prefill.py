"""The prefill bench: rates beside the GEMM peak, another model's refusal, the operations counted."""

import pytest
import torch

from braidcheck.benchmarks.prefill import flops, measure_prefill
from braidcheck.models.qwen3.architecture import QWEN3_0_6B


def test_braidcheck_and_hf_are_timed(untimed, config):
    seen = measure_prefill([7, 20], "cpu", with_baselines=True, config=config)
    subjects = "braidcheck", "braidcheck, launch by launch", "HF transformers"
    assert [(row["tokens"], row["subject"]) for row in seen["rows"]] == [(n, who) for n in (7, 20) for who in subjects]
    for row in seen["rows"]:
        assert row["rate"]["median"] == row["tokens"] / 2e-3
        assert row["of_gemm_peak"] == pytest.approx(flops(config, row["tokens"]) / 2e-3 / 1e12)


def test_another_model_is_refused(untimed, config, monkeypatch):
    monkeypatch.setattr("braidcheck.models.model.rope_table", lambda *size, **rest: torch.ones(size[:2]))
    rows = measure_prefill([20], "cpu", config=config)["rows"]
    assert len(rows) == 2
    assert all(row["refused"].startswith("its logits differ by ") and "rate" not in row for row in rows)


def test_operations_are_two_a_weight_and_token_and_attentions():
    matrices = 881e6 / 2  # bytes of bfloat16 in the layers
    one = flops(QWEN3_0_6B, 1)
    assert one == pytest.approx(2 * (matrices + 151936 * 1024), rel=1e-3)
    quadratic = flops(QWEN3_0_6B, 4096) - 4096 * one + 4095 * 2 * 151936 * 1024
    assert quadratic == 28 * 4 * 2048 * (4096 * 4097 // 2 - 4096)
