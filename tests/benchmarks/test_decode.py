"""The decode bench around its subjects: who is timed, refused, skipped; what a step must read."""

from functools import partial

import pytest
import torch

from braidcheck.benchmarks import decode
from braidcheck.benchmarks.backends import HF_STATIC, HFGenerate
from braidcheck.benchmarks.decode import Setting, least_bytes, measure_decode
from braidcheck.errors import UserError
from braidcheck.models.qwen3.architecture import QWEN3_0_6B


def broken():
    raise RuntimeError("no such backend\nand a trace")


@pytest.fixture
def measure(untimed, monkeypatch, config, altered):
    """Measures decode on a CPU, with baselines of every fate."""

    def planted(engine, hf, start):
        return {
            "honest": lambda: altered(engine, start),
            "wrong": lambda: altered(engine, start, rope_theta=1e4),
            "broken": broken,
            HF_STATIC: lambda: HFGenerate(hf, start),
        }

    monkeypatch.setattr(decode, "baselines_of", planted)
    return partial(measure_decode, device="cpu", config=config)


def test_baselines_are_timed_refused_or_skipped(measure, config):
    seen = measure([Setting(2, 128), Setting(1, 200)], with_baselines=True)
    first, second = seen["rows"][:5], seen["rows"][5:]
    found = {row["subject"]: row for row in first}
    for name in ("braidcheck", "honest", HF_STATIC):
        assert found[name]["rate"] == {"median": 2000, "low": 1000, "high": 4000}  # 2 rows of 2 tokens in 2 ms
        assert found[name]["of_roofline"] == pytest.approx(2000 / (2 * 1e9 / least_bytes(config, Setting(2, 128))))
    assert "from HF's in float32" in found["wrong"]["refused"]
    assert found["broken"]["skipped"] == "RuntimeError: no such backend"
    for name in ("wrong", "broken"):
        assert "rate" not in found[name]
    assert {row["subject"]: row for row in second}[HF_STATIC]["skipped"].endswith(
        "for this one, give it alone by --context"
    )


def test_without_baselines_only_braidcheck_is_timed(measure, monkeypatch):
    (row,) = measure([Setting(1, 128)])["rows"]
    assert row["subject"] == "braidcheck"
    assert row["rate"]
    monkeypatch.setattr("braidcheck.models.model.rope_table", lambda *size, **rest: torch.ones(size[:2]))
    (row,) = measure([Setting(1, 128)])["rows"]
    assert "from HF's in float32" in row["refused"]


def test_roofline_matches_requirements():
    """1192 MB of weights a token and 114,688 bytes of K and V for each token of context."""
    assert round(least_bytes(QWEN3_0_6B, Setting(1, 0)) / 1e6) == 1192
    assert least_bytes(QWEN3_0_6B, Setting(16, 512)) - least_bytes(QWEN3_0_6B, Setting(1, 0)) == 16 * 512 * 114_688


def test_the_context_is_that_of_the_middle_step():
    for setting in decode.SETTINGS:
        assert setting.filled + decode.TOTAL // 2 == setting.context
        assert setting.filled + decode.TOTAL < setting.capacity
        assert setting.capacity % 64 == 0


def test_contexts_that_cannot_be_are_refused_before_anything_runs(config):
    with pytest.raises(UserError, match="context 20 is too short"):
        measure_decode([Setting(1, 20)], "cpu", config=config)
    with pytest.raises(UserError, match="context 4096 needs 4224 positions, the model has 4096"):
        measure_decode([Setting(1, 4096)], "cpu", config=config)
