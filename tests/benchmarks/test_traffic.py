"""The attention block's traffic: counted by hand, and of a block that is fused in name only."""

import pytest
import torch

from braidcheck.benchmarks.traffic import measure_traffic
from braidcheck.gates import targets
from braidcheck.kernels.attention_prefill import attention_prefill
from braidcheck.kernels.cache_write import cache_write
from braidcheck.kernels.fused_attention import fused_attention
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.result import Status

HIDDEN, Q, KV = 1024, 2048, 1024  # numbers a token


def test_the_bytes_are_those_counted_by_hand():
    seen = measure_traffic("cpu", fused_attention)
    for tokens in (512, 4096):
        assert {phase: moved / tokens for phase, moved in seen[f"{tokens} tokens"]["separate"].items()} == {
            "1 RMSNorm": 2 * HIDDEN + 4 * HIDDEN,
            "1 QKV projection": 4 * HIDDEN + 2 * (Q + 2 * KV),
            "3 Q/K normalization": 4 * (Q + KV),
            "4 RoPE": 4 * (Q + KV),
            "5 KV cache": 4 * 2 * KV,
            "5 attention": 2 * (Q + 2 * KV + Q),
            "6 output projection": 2 * (Q + HIDDEN),
        }
        assert seen[f"{tokens} tokens"]["fused"] / tokens == 2 * 2 * HIDDEN + 2 * 2 * (KV + KV)
        assert seen[f"{tokens} tokens"]["between"] / tokens == 4 * Q + 4 * Q  # Q, and the heads' outputs
    assert targets.evaluate_traffic(seen).status == Status.PASS


def in_name_only(
    hidden, norm_weight, qkv_weight, q_norm_weight, k_norm_weight, o_weight, cos_sin, positions, k_cache, v_cache,
    lengths, num_heads, num_kv_heads, head_dim, eps, scale,
):  # fmt: skip
    q, k, v = qkv_rope(
        rms_norm(hidden, norm_weight, eps), qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim,
        q_norm_weight=q_norm_weight, k_norm_weight=k_norm_weight, eps=eps,
    )  # fmt: skip
    cache_write(k, v, k_cache, v_cache, positions * 0, positions)
    return linear_residual(attention_prefill(q, k_cache[0], v_cache[0], scale).flatten(1), o_weight, hidden)


def test_what_is_fused_in_name_only_misses_the_target():
    seen = measure_traffic("cpu", in_name_only)
    verdict = targets.evaluate_traffic(seen)
    assert (seen["512 tokens"]["launches"], verdict.status) == (5, Status.FAIL)
    assert verdict.value == pytest.approx(0.38, abs=0.005)


def test_a_call_that_launches_nothing_was_not_counted():
    seen = measure_traffic("cpu", lambda hidden, **rest: hidden)
    assert targets.evaluate_traffic(seen).status == Status.FAIL


def test_kernels_run_again_afterwards():
    measure_traffic("cpu", fused_attention)
    assert rms_norm(torch.ones(1, 16), torch.ones(16), 1e-12).eq(1).all()
