"""The speed requirements, each with its sentence in the specification: ratios to a baseline, floors and savings. Ratios
apply to any GPU. A floor in GB/s applies to GPUs whose measured bandwidth allows it, a saving to GPUs on which the
baseline takes that long.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braidcheck.gates.gate import Gate, Progress
from braidcheck.gates.measured import positive
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

BRAIDCHECK = "braidcheck"
ALL_TARGETS = "every target"  # the subject where nothing can be timed
LAYERS = 28
FUSED = "the specified kernel"
DECODE, PREFILLS = "1 token", ("512 tokens", "4096 tokens")


@dataclass(frozen=True)
class Target:
    """``kind`` of ``comparison``: "speedup" at least, "slowdown" at most, "GB/s" at least, "ms a token saved" at least.

    ``baseline`` and ``candidate`` are the compared calls.
    """

    comparison: str
    kind: str
    limit: float
    baseline: str
    requirement: str
    candidate: str = BRAIDCHECK

    @property
    def higher_is_better(self) -> bool:
        """Whether ``limit`` is a minimum."""
        return self.kind != "slowdown"


def _everywhere(name: str, comparison: str, *rest: Any, **more: Any) -> dict[str, Target]:
    return {f"{name}[{shape}]": Target(f"{comparison}[{shape}]", *rest, **more) for shape in (DECODE, *PREFILLS)}


TARGETS: Mapping[str, Target] = {
    **_everywhere(
        "RMSNorm overhead", "norm, QKV + RoPE", "slowdown", 1.05, FUSED, "RMSNorm kernel: < 5% overhead vs fused"
    ),
    **_everywhere(
        "QKV + RoPE", "norm, QKV + RoPE", "slowdown", 1.10, FUSED, "QKV+RoPE kernel: Similar performance to current",
        candidate="QKV + RoPE alone",
    ),
    **_everywhere(
        "whole path", "norm, QKV, head norms + RoPE", "slowdown", 1.10, FUSED,
        "Overall: Within 10% of current fused kernel",
    ),
    **_everywhere("RMSNorm", "RMSNorm", "speedup", 2.19, "eager", "Achieves 2.19x speedup over PyTorch"),
    "fused attention[512 tokens]": Target(
        "attention block[512 tokens]", "speedup", 2.0, "eager", "Achieve 2x+ speedup over separate operations"
    ),
    "fused attention[1 row of 2048]": Target(
        "attention block[1 row of 2048]", "speedup", 2.0, "eager", "Achieve 2x+ speedup over separate operations"
    ),
    "fused RMSNorm + QKV[896 wide]": Target(
        "norm + QKV[1 token, 896 wide]", "speedup", 2.64, "eager", "Qwen3-0.6B (896 hidden): 2.64x speedup"
    ),
    "fused RMSNorm + QKV[1024 wide]": Target(
        "norm + QKV[1 token]", "speedup", 1.47, "eager", "Qwen3-0.6B (1024 hidden): 1.47x speedup"
    ),
    "fused RMSNorm + QKV: bandwidth": Target(
        "norm + QKV[1 token]", "GB/s", 51.7, "", "Memory bandwidth: 51.7 GB/s utilization"
    ),
    "fused RMSNorm + QKV: time saved": Target(
        "norm + QKV[1 token]", "ms a token saved", 0.850, "eager", "Time saved: 0.850ms per token"
    ),
}  # fmt: skip
CHECKS = tuple(TARGETS)
UNITS = {"speedup": "x as fast", "slowdown": "x the time", "GB/s": "GB/s", "ms a token saved": "ms saved a token"}


def evaluate(evidence: Mapping[str, Any], lane: str = "") -> tuple[Verdict, ...]:
    """One verdict per target from the evidence of ``benchmarks.fusions.measure_fusions``; skipped without clocks."""
    if reason := evidence.get("reason"):
        return tuple(Verdict("speed_targets", check, Status.SKIPPED, reason, lane=lane) for check in CHECKS)
    return tuple(_verdict(check, target, evidence, lane) for check, target in TARGETS.items())


def _verdict(check: str, target: Target, evidence: Mapping[str, Any], lane: str) -> Verdict:
    comparison = (evidence.get("comparisons") or {}).get(target.comparison) or {}
    errors = comparison.get("errors") or {}
    for who in filter(None, (target.candidate, target.baseline)):
        if who in errors:
            status = Status.ERROR if who == target.candidate else Status.SKIPPED
            return Verdict("speed_targets", check, status, f"{who} did not run: {errors[who]}", lane=lane)
    try:
        values = _values(target, comparison)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        message = f"no times to compare with the requirement {target.requirement!r}"
        return Verdict("speed_targets", check, Status.ERROR, message, lane=lane)
    if why := _out_of_reach(target, comparison, evidence.get("limits") or {}):
        return Verdict("speed_targets", check, Status.SKIPPED, why, lane=lane, metrics={"source": target.requirement})
    reached = [value >= target.limit if target.higher_is_better else value <= target.limit for value in values]
    status = Status.PASS if all(reached) else Status.INCONCLUSIVE if any(reached) else Status.FAIL
    value, unit = statistics.median(values), UNITS[target.kind]
    against = f" next to {target.baseline}" if target.baseline else ""
    doubt = ", but not in every round" if status == Status.INCONCLUSIVE else ""
    return Verdict(
        gate="speed_targets",
        subject=check,
        status=status,
        message=f"{value:.3g} {unit}{against}{doubt}; requirement: {target.requirement!r}",
        value=value,
        limit=target.limit,
        higher_is_better=target.higher_is_better,
        unit=unit,
        lane=lane,
        metrics={
            "spread": {"low": min(values), "high": max(values)},
            "us": {
                name: 1e6 * statistics.median(times) for name, times in comparison["seconds"].items() if _whole(times)
            },
            "source": target.requirement,
        },
    )


def _values(target: Target, comparison: Mapping[str, Any]) -> list[float]:
    """The target's value in each round. Raises ValueError for a round without times."""
    candidate = _times(comparison["seconds"][target.candidate])
    if target.kind == "GB/s":
        return [comparison["bytes"] / seconds / 1e9 for seconds in candidate]
    pairs = list(zip(candidate, _times(comparison["seconds"][target.baseline]), strict=True))
    if target.kind == "ms a token saved":
        return [1e3 * LAYERS * (baseline - own) for own, baseline in pairs]
    return [own / baseline if target.kind == "slowdown" else baseline / own for own, baseline in pairs]


def _times(times: Any) -> list[float]:
    if not _whole(times):
        raise ValueError("a round has no time")
    return list(times)


def _whole(times: Any) -> bool:
    return bool(times) and all(map(positive, times))


def _out_of_reach(target: Target, comparison: Mapping[str, Any], limits: Mapping[str, float]) -> str:
    """Why no kernel could reach the target on this machine; empty if one could."""
    if target.kind == "GB/s":
        peak = max(positive(limits.get("copy")), positive(limits.get("read"))) / 1e9
        if peak >= target.limit:
            return ""
        measured = f"is {peak:,.1f} GB/s: above this GPU's roofline" if peak else "was not measured"
        return f"{target.limit:g} GB/s are required, the bandwidth here {measured}"
    if target.kind == "ms a token saved":
        spent = 1e3 * LAYERS * statistics.median(comparison["seconds"][target.baseline])
        if spent < target.limit:
            return f"{target.baseline} takes {spent:.2f} ms a token here: there are no {target.limit:g} ms to save"
    return ""


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Time the fused kernels and their baselines."""
    from braidcheck.benchmarks.fusions import measure_fusions

    return evaluate(measure_fusions(progress), settings.lane)


GATE = Gate(
    name="speed_targets",
    question="Are the required speed-ups and bandwidths reached, capped at what this machine allows?",
    failure_page="speed",
    subjects=lambda settings: CHECKS,
    run=run,
    timed=True,
    needs_gpu="no GPU: a CPU's times say nothing about kernels",
    stand_in=ALL_TARGETS,
    timeout_s=1800,
)
