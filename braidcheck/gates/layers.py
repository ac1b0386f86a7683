"""The layer gate: is a decoder layer as close to HF-float32 as HF's own bfloat16 layer is?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.results import Status, Verdict

LIMIT = 1.5  # times HF-bf16's error, the design's floor rule


def judge(evidence: Sequence[Mapping[str, Any]], model: str, lane: str = "") -> tuple[Verdict, ...]:
    """One verdict a layer and mode from what ``evidence.layers.observe_layers`` saw."""
    return tuple(_verdict(reading, model, lane) for reading in evidence)


def subject(model: str, layer: int, mode: str) -> str:
    """The name under which a layer is judged."""
    return f"{model}: layer {layer} {mode}"


def _verdict(reading: Mapping[str, Any], model: str, lane: str) -> Verdict:
    engine, floor = reading["engine"], reading["hf_bf16"]
    ratio = engine / floor if floor > 0 else math.inf
    passed = math.isfinite(ratio) and ratio <= LIMIT
    said = f"layer {reading['layer']} in {reading['mode']} is {engine:.2g} from HF float32"
    if not math.isfinite(engine):
        said = f"layer {reading['layer']} in {reading['mode']} gives NaN or infinities"
    return Verdict(
        gate="layers",
        subject=subject(model, reading["layer"], reading["mode"]),
        status=Status.PASS if passed else Status.FAIL,
        sentence=f"{said}, {ratio:.2f}x HF bfloat16's own {floor:.2g}; at most {LIMIT}x is allowed",
        value=ratio,
        limit=LIMIT,
        unit="times HF bf16's error",
        lane=lane,
        numbers={"engine": engine, "hf_bf16": floor},
    )
