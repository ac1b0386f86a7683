"""The documents' own accuracy targets, each with the sentence it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braidcheck.results import Status, Verdict


@dataclass(frozen=True)
class Target:
    """A threshold: ``reading`` of ``op``'s outputs on its cases of ``profile`` and ``dtype`` stays below ``limit``."""

    op: str
    profile: str
    dtype: str
    reading: str
    limit: float
    sentence: str


# Both hold for ordinary numbers in the storage type that the documents mean: bfloat16's own rounding is larger.
TARGETS = {
    "fused RMSNorm + QKV": Target(
        "rms_norm_qkv", "unit", "float32", "largest", 2.3e-5, "Numerical accuracy (< 2.3e-5 error)"
    ),
    "fused attention": Target(
        "fused_attention", "unit", "float16", "relative", 1e-3, "Maintain numerical accuracy within 1e-3 of reference"
    ),
}
CHECKS = tuple(TARGETS)
UNITS = {"largest": "largest absolute error", "relative": "norm-wise relative error"}


def judge(evidence: Sequence[Mapping[str, Any]], check: str, lane: str = "") -> Verdict:
    """Verdict on the target ``check`` from what ``evidence.op.observe_op`` saw on its cases."""
    target = TARGETS[check]
    outputs = [output for seen in evidence for output in seen["outputs"]]
    silent = [seen["case"] for seen in evidence if not seen["outputs"]]
    value = max((output[target.reading] for output in outputs), default=math.nan)
    nonfinite = sum(output["nonfinite"] for output in outputs)
    unit = UNITS[target.reading]
    status, said = Status.FAIL, f"the {unit} is {value:.2g}; the documents say: {target.sentence!r}"
    if not evidence or silent or nonfinite:
        said = f"{', '.join(silent) or target.op} gave no numbers to hold against: {target.sentence!r}"
        value = math.nan
    elif value < target.limit:
        status = Status.PASS
    numbers = {"source": target.sentence, "cases": len(evidence)}
    return Verdict("targets", check, status, said, value, target.limit, unit=unit, lane=lane, numbers=numbers)
