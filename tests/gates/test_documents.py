"""Every threshold of the requirements is a target somewhere, with its number and its own sentence."""

import pytest

from braidcheck.gates import speed, speed_targets, targets

ACCURACY = {check: (target.limit, target.requirement) for check, target in targets.TARGETS.items()}
HELD = {
    "targets": ACCURACY | {targets.TRAFFIC: (targets.MIN_SAVED_FRACTION, targets.TRAFFIC_REQUIREMENT)},
    "speed": {check: (target.against, target.requirement) for check, target in speed.TARGETS.items()},
    "speed_targets": {check: (target.limit, target.requirement) for check, target in speed_targets.TARGETS.items()},
}


@pytest.mark.parametrize(
    ("gate", "check", "limit", "message"),
    [
        ("speed_targets", "RMSNorm overhead[1 token]", 1.05, "RMSNorm kernel: < 5% overhead vs fused"),
        ("speed_targets", "RMSNorm overhead[512 tokens]", 1.05, "RMSNorm kernel: < 5% overhead vs fused"),
        ("speed_targets", "RMSNorm overhead[4096 tokens]", 1.05, "RMSNorm kernel: < 5% overhead vs fused"),
        ("speed_targets", "QKV + RoPE[1 token]", 1.10, "QKV+RoPE kernel: Similar performance to current"),
        ("speed_targets", "QKV + RoPE[4096 tokens]", 1.10, "QKV+RoPE kernel: Similar performance to current"),
        ("speed_targets", "whole path[1 token]", 1.10, "Overall: Within 10% of current fused kernel"),
        ("speed_targets", "whole path[4096 tokens]", 1.10, "Overall: Within 10% of current fused kernel"),
        ("speed_targets", "RMSNorm[1 token]", 2.19, "Achieves 2.19x speedup over PyTorch"),
        ("speed_targets", "RMSNorm[4096 tokens]", 2.19, "Achieves 2.19x speedup over PyTorch"),
        ("targets", "fused attention: memory traffic", 0.5, "Reduce memory traffic by 50%+ through fusion"),
        ("speed_targets", "fused attention[512 tokens]", 2.0, "Achieve 2x+ speedup over separate operations"),
        ("speed_targets", "fused attention[1 row of 2048]", 2.0, "Achieve 2x+ speedup over separate operations"),
        ("targets", "fused attention", 1e-3, "Maintain numerical accuracy within 1e-3 of reference"),
        ("speed_targets", "fused RMSNorm + QKV[896 wide]", 2.64, "Qwen3-0.6B (896 hidden): 2.64x speedup"),
        ("speed_targets", "fused RMSNorm + QKV[1024 wide]", 1.47, "Qwen3-0.6B (1024 hidden): 1.47x speedup"),
        ("targets", "fused RMSNorm + QKV", 2.3e-5, "Numerical accuracy (< 2.3e-5 error)"),
        ("speed_targets", "fused RMSNorm + QKV: bandwidth", 51.7, "Memory bandwidth: 51.7 GB/s utilization"),
        ("speed_targets", "fused RMSNorm + QKV: time saved", 0.850, "Time saved: 0.850ms per token"),
        ("speed", "decode 80 tok/s", 80.0, "Throughput: 80 -> 85.8 tok/s"),
        ("speed", "decode 85.8 tok/s", 85.8, "Throughput: 80 -> 85.8 tok/s"),
        ("speed", "decode 200 tok/s", 200.0, "Target of 200+ tok/s is achievable."),
    ],
)
def test_each_requirement_is_a_target(gate, check, limit, message):
    assert HELD[gate][check] == (limit, message)
