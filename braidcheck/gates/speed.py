"""The speed gate: tokens per second compared with HF transformers in the same run and with the specification's floors.

The specification names no hardware for its floors. A token reads every weight once, so a floor applies to any GPU whose
measured bandwidth can read the weights that often; on other GPUs it is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from braidcheck.gates.gate import Gate, Progress
from braidcheck.gates.measured import positive
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

MODEL = "synthetic 0.6B"


@dataclass(frozen=True)
class Target:
    """The ``reading`` of the rate ``of`` (decode, prefill) is at least ``against``: tok/s, or another rate's median.

    ``words`` describe it, ``requirement`` is the sentence in the specification.
    """

    of: str
    reading: str
    against: float | str
    words: str
    requirement: str


def _floor(rate: float, requirement: str) -> Target:
    return Target("decode", "low", rate, f"the required {rate:g}", requirement)


def _next_to_hf(of: str, who: str) -> Target:
    requirement = f"a kernel suite whose {of} is slower than HF transformers' is pointless"
    return Target(of, "median", f"hf_{of}", f"{who} {{:,.0f}} in the same run", requirement)


TARGETS: Mapping[str, Target] = {
    "decode next to HF": _next_to_hf("decode", "HF generate's"),
    "prefill next to HF": _next_to_hf("prefill", "HF's"),
    "decode 80 tok/s": _floor(80.0, "Throughput: 80 -> 85.8 tok/s"),
    "decode 85.8 tok/s": _floor(85.8, "Throughput: 80 -> 85.8 tok/s"),
    "decode 200 tok/s": _floor(200.0, "Target of 200+ tok/s is achievable."),
}


def subject(check: str) -> str:
    """The name under which a check is evaluated."""
    return f"{MODEL}: {check}"


CHECKS = tuple(subject(check) for check in TARGETS)


def evaluate(evidence: Mapping[str, Any], lane: str = "") -> tuple[Verdict, ...]:
    """One verdict per check from the evidence of ``benchmarks.speed.measure_speed``."""
    return tuple(_verdict(subject(check), target, evidence, lane) for check, target in TARGETS.items())


def _verdict(name: str, target: Target, evidence: Mapping[str, Any], lane: str) -> Verdict:
    is_floor = isinstance(target.against, float)
    rate = _rate(evidence, target.of, target.reading)
    least = target.against if isinstance(target.against, float) else _rate(evidence, target.against, "median")
    bandwidth, read = (positive(evidence.get(key)) for key in ("copy_bandwidth", "read_bytes"))
    needed = {target.of: rate, target.against: least} | ({"bandwidth": bandwidth, "weights": read} if is_floor else {})
    if lost := [str(what) for what, number in needed.items() if not number]:
        message = f"not measured: {', '.join(lost)}; cannot compare with the requirement {target.requirement!r}"
        return Verdict("speed", name, Status.ERROR, message, lane=lane)
    metrics = {"spread": evidence[target.of], "source": target.requirement, "device": evidence.get("device", "")}
    if is_floor and least * read > bandwidth:
        message = (
            f"{least:g} tok/s read {least * read / 1e9:,.1f} GB/s of weights, the copy bandwidth measured here is "
        )
        message += f"{bandwidth / 1e9:,.1f} GB/s: above this GPU's roofline; measured {rate:,.0f} tok/s"
        return Verdict("speed", name, Status.SKIPPED, message, lane=lane, metrics=metrics)
    passed = rate >= least
    against = target.words.format(least)
    return Verdict(
        gate="speed",
        subject=name,
        status=Status.PASS if passed else Status.FAIL,
        message=f"{target.of} runs at {rate:,.0f} tok/s, {'no less than' if passed else 'below'} {against}",
        value=rate,
        limit=least,
        higher_is_better=True,
        unit="tok/s",
        lane=lane,
        metrics=metrics,
    )


def _rate(evidence: Mapping[str, Any], of: str, reading: str) -> float:
    rates = evidence.get(of)
    return positive(rates.get(reading)) if isinstance(rates, Mapping) else 0.0


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Time decode and prefill of the engine and HF."""
    from braidcheck.benchmarks.speed import measure_speed

    return evaluate(measure_speed(settings.device, progress), settings.lane)


GATE = Gate(
    name="speed",
    question="Are decode and prefill at least as fast as Hugging Face's in the same run, and as required?",
    failure_page="speed",
    subjects=lambda settings: CHECKS,
    run=run,
    timed=True,
    needs_gpu="no GPU: speed on a CPU says nothing",
    stand_in=MODEL,
    timeout_s=1800,
)
