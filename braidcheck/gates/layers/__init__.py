"""The layer gate: is a decoder layer as close to HF-float32 as HF's own bfloat16 layer is?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict

from braidcheck import models
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.models.architecture import Architecture
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

LIMIT = 1.5  # times HF-bfloat16's error, the design's noise-floor rule
MODES = ("prefill", "decode")


class Reading(TypedDict):
    """Relative errors of the engine's layer and of HF-bf16's, in one mode; ``blame`` are the suspect ops."""

    layer: int
    mode: str
    engine: float
    hf_bf16: float
    blame: NotRequired[list[str]]


def name(architecture: Architecture) -> str:
    """The name of the architecture's full-size model in subjects."""
    return f"synthetic {architecture.full_size_name}"


MODEL = name(models.find()["qwen3"])


def subject(layer: int, mode: str, model: str = MODEL) -> str:
    """The name under which a layer is evaluated."""
    return f"{model}: layer {layer} {mode}"


CHECKS = tuple(
    subject(layer, mode, name(architecture))
    for architecture in models.find().values()
    for layer in range(architecture.full_size.num_hidden_layers)
    for mode in MODES
)


def evaluate(evidence: Sequence[Reading], lane: str = "", model: str = MODEL) -> tuple[Verdict, ...]:
    """One verdict per layer and mode from the evidence of ``measure.measure_layers`` on ``model``."""
    return tuple(_verdict(reading, lane, model) for reading in evidence)


def _verdict(reading: Reading, lane: str, model: str) -> Verdict:
    engine, floor = reading["engine"], reading["hf_bf16"]
    ratio = engine / floor if floor > 0 else math.inf
    passed = math.isfinite(ratio) and ratio <= LIMIT
    message = f"layer {reading['layer']} in {reading['mode']} is {engine:.2g} from HF float32"
    if not math.isfinite(engine):
        message = f"layer {reading['layer']} in {reading['mode']} gives NaN or infinities"
    blame = ""
    if "blame" in reading:
        blame = f"; suspect ops: {' and '.join(reading['blame']) or 'no op, it fails with all at their references too'}"
    return Verdict(
        gate="layers",
        subject=subject(reading["layer"], reading["mode"], model),
        status=Status.PASS if passed else Status.FAIL,
        message=f"{message}, {ratio:.2f}x HF bfloat16's own {floor:.2g}; at most {LIMIT}x is allowed{blame}",
        value=ratio,
        limit=LIMIT,
        unit="times HF bf16's error",
        lane=lane,
        metrics={"engine": engine, "hf_bf16": floor} | ({"blame": reading["blame"]} if blame else {}),
    )


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run each layer of each architecture's full-size model by itself."""
    from braidcheck.gates.layers.measure import measure_layers

    for architecture in models.find().values():
        config, attention = architecture.full_size, settings.attention
        evidence = measure_layers(settings.device, progress, config, attention, limit=LIMIT)
        yield from evaluate(evidence, settings.lane, name(architecture))


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.layers.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="layers",
    question="Is each layer at full size as close to Hugging Face float32 as Hugging Face bfloat16 is?",
    failure_page="model",
    subjects=lambda settings: CHECKS,
    run=run,
    runs_kernels=True,
    shared=True,
    has_headroom=True,
    needs_gpu="no GPU: a full-size model would take hours in the interpreter",
    stand_in=MODEL,
    timeout_s=1800,
    load_trial_checks=_trial_checks,
)
