"""The speed gate: tokens per second next to HF transformers in the same run, and the documents' floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from braidcheck.results import Status, Verdict

MODEL = "synthetic 0.6B"

# check -> (what is measured, what it is held against, what that is, the sentence it comes from)
TARGETS: dict[str, tuple[Callable[[Mapping[str, Any]], float], Callable[[Mapping[str, Any]], float], str, str]] = {
    "decode next to HF": (
        lambda e: e["decode"]["median"],
        lambda e: e["hf_decode"]["median"],
        "HF generate's {:,.0f} in the same run",
        "a kernel suite that decodes slower than HF transformers has no reason to be",
    ),
    "prefill next to HF": (
        lambda e: e["prefill"]["median"],
        lambda e: e["hf_prefill"]["median"],
        "HF's {:,.0f} in the same run",
        "a kernel suite that prefills slower than HF transformers has no reason to be",
    ),
    "decode 80 tok/s": (
        lambda e: e["decode"]["low"],
        lambda e: 80.0,
        "the documents' floor of {:g}",
        "Throughput: 80 -> 85.8 tok/s",
    ),
    "decode 85.8 tok/s": (
        lambda e: e["decode"]["low"],
        lambda e: 85.8,
        "the documents' floor of {:g}",
        "Throughput: 80 -> 85.8 tok/s",
    ),
    "decode 200 tok/s": (
        lambda e: e["decode"]["low"],
        lambda e: 200.0,
        "the documents' floor of {:g}",
        "Target of 200+ tok/s is achievable.",
    ),
}


def subject(check: str) -> str:
    """The name under which a check is judged."""
    return f"{MODEL}: {check}"


CHECKS = tuple(subject(check) for check in TARGETS)


def judge(evidence: Mapping[str, Any] | None, lane: str = "") -> tuple[Verdict, ...]:
    """One verdict a check from what ``evidence.speed.observe_speed`` saw; none seen is not judged."""
    if evidence is None:
        said = "no GPU: speed on a CPU says nothing"
        return (Verdict("speed", MODEL, Status.NOT_JUDGED, said, lane=lane),)
    return tuple(_verdict(name, evidence, lane) for name in TARGETS)


def _verdict(check: str, evidence: Mapping[str, Any], lane: str) -> Verdict:
    measured, required, against, source = TARGETS[check]
    rate, floor = measured(evidence), required(evidence)
    passed = rate >= floor > 0
    kind = "prefill" if check.startswith("prefill") else "decode"
    return Verdict(
        gate="speed",
        subject=subject(check),
        status=Status.PASS if passed else Status.FAIL,
        sentence=f"{kind} runs at {rate:,.0f} tok/s, {'no less than' if passed else 'below'} {against.format(floor)}",
        value=rate,
        limit=floor,
        floor=True,
        unit="tok/s",
        lane=lane,
        numbers={"spread": evidence[kind], "source": source, "device": evidence["device"]},
    )
