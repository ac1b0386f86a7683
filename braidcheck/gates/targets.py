"""The requirements without timing, accuracy and memory traffic, each with its sentence in the specification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braidcheck.gates.gate import Gate, Progress
from braidcheck.gates.measured import counted, positive
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings


@dataclass(frozen=True)
class Target:
    """A threshold: ``reading`` of ``op``'s outputs on its cases of ``profile`` and ``dtype`` stays below ``limit``."""

    op: str
    profile: str
    dtype: str
    reading: str
    limit: float
    requirement: str


# Both apply to ordinary numbers in the specification's storage type: bfloat16's own rounding is larger.
TARGETS = {
    "fused RMSNorm + QKV": Target(
        "rms_norm_qkv", "unit", "float32", "largest", 2.3e-5, "Numerical accuracy (< 2.3e-5 error)"
    ),
    "fused attention": Target(
        "fused_attention", "unit", "float16", "relative", 1e-3, "Maintain numerical accuracy within 1e-3 of reference"
    ),
}
TRAFFIC, MIN_SAVED_FRACTION = "fused attention: memory traffic", 0.5
TRAFFIC_REQUIREMENT = "Reduce memory traffic by 50%+ through fusion"
CHECKS = (*TARGETS, TRAFFIC)
UNITS = {"largest": "largest absolute error", "relative": "norm-wise relative error"}


def evaluate(evidence: Sequence[Mapping[str, Any]], check: str, lane: str = "") -> Verdict:
    """Verdict on the target ``check`` from the evidence of ``accuracy.measure.measure_op`` on its cases."""
    target = TARGETS[check]
    outputs = [output for seen in evidence for output in seen["outputs"]]
    silent = [seen["case"] for seen in evidence if not seen["outputs"]]
    value = max((output[target.reading] for output in outputs), default=math.nan)
    nonfinite = sum(output["nonfinite"] for output in outputs)
    unit = UNITS[target.reading]
    status, message = Status.FAIL, f"the {unit} is {value:.2g}; requirement: {target.requirement!r}"
    if not evidence or silent or nonfinite:
        message = (
            f"{', '.join(silent) or target.op} gave no result to compare with the requirement {target.requirement!r}"
        )
        value = math.nan
    elif value < target.limit:
        status = Status.PASS
    metrics = {"source": target.requirement, "cases": len(evidence)}
    return Verdict("targets", check, status, message, value, target.limit, unit=unit, lane=lane, metrics=metrics)


def evaluate_traffic(evidence: Mapping[str, Mapping[str, Any]], lane: str = "") -> Verdict:
    """Verdict on TRAFFIC from the counts of ``benchmarks.traffic``, for the prompt that saves least."""
    saved = {prompt: _saved(seen) for prompt, seen in evidence.items()}
    value = min(saved.values(), key=lambda share: (share == share, share), default=math.nan)
    status = Status.PASS if value >= MIN_SAVED_FRACTION else Status.FAIL
    message = f"{value:.0%} of the separate operations' bytes are saved in prefill; requirement:"
    if math.isnan(value):
        message = "no bytes were counted to compare with the requirement"
    return Verdict(
        gate="targets",
        subject=TRAFFIC,
        status=status,
        message=f"{message} {TRAFFIC_REQUIREMENT!r}",
        value=value,
        limit=MIN_SAVED_FRACTION,
        higher_is_better=True,
        unit="of the bytes saved",
        lane=lane,
        metrics={"source": TRAFFIC_REQUIREMENT, "saved": saved, "bytes": dict(evidence)},
    )


def _saved(seen: Mapping[str, Any]) -> float:
    """The fraction that fusion saves; NaN if a phase, the op or its launches were not counted."""
    phases, fused = [positive(moved) for moved in (seen.get("separate") or {}).values()], positive(seen.get("fused"))
    if not (phases and all(phases) and fused and counted(seen.get("between")) and positive(seen.get("launches"))):
        return math.nan
    return 1 - (fused + seen["between"]) / sum(phases)


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Measure the error of each target's op on its cases, and the memory traffic of fused attention."""
    from braidcheck import kernels
    from braidcheck.gates.accuracy.measure import measure_op
    from braidcheck.gates.under_test import wrapper

    for check in subjects:
        if check == TRAFFIC:
            from braidcheck.benchmarks.traffic import FUSED, measure_traffic

            yield evaluate_traffic(measure_traffic(settings.device, wrapper(FUSED)))
            continue
        target = TARGETS[check]
        op = kernels.find()[target.op]
        checks = [
            case
            for case in op.cases
            if (case.profile, case.dtype) == (target.profile, target.dtype)
            and (settings.lane == "gpu" or not case.large)
        ]
        call = wrapper(op.name)
        yield evaluate([measure_op(op, case, settings.device, call) for case in checks], check)


GATE = Gate(
    name="targets",
    question="Are the required accuracy and memory traffic reached?",
    failure_page="numbers",
    subjects=lambda settings: CHECKS,
    run=run,
    runs_kernels=True,
    has_headroom=True,
)
