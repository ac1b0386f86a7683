"""The timing gate: refuses times of kernels that this machine cannot have reached.

The paired gate and the trend decide whether a time is good; this gate reports an error for a time that could not be
measured, or that implies more bandwidth or arithmetic than the machine has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.gates.gate import Gate, Progress
from braidcheck.gates.measured import counted, positive
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

ALL_KERNELS = "every kernel"  # the subject if nothing can be timed
TOLERANCE = 1.03  # by which a kernel may beat the measured limit, which is noisy too


def evaluate(evidence: Mapping[str, Any], lane: str = "", names: Sequence[str] = (ALL_KERNELS,)) -> tuple[Verdict, ...]:
    """One verdict per series of ``names`` from the evidence of ``benchmarks.timing.measure_timing``. Without clocks all
    are skipped; a requested series that was not timed is an error.
    """
    if reason := evidence.get("reason"):
        return tuple(Verdict("timing", name, Status.SKIPPED, reason, lane=lane) for name in names)
    series = evidence.get("series") or {}
    return tuple(_verdict(name, series.get(name) or {"error": "it was not timed"}, evidence, lane) for name in names)


def _verdict(name: str, sample: Mapping[str, Any], evidence: Mapping[str, Any], lane: str) -> Verdict:
    if sample.get("error"):
        return Verdict("timing", name, Status.ERROR, sample["error"], lane=lane)
    limits = evidence.get("limits") or {}
    peak, matrix = max(positive(limits.get("copy")), positive(limits.get("read"))), positive(limits.get("matrix"))
    seconds, moved, flops = (positive(sample.get(key)) for key in ("seconds", "bytes", "flops"))
    whole = all(counted(sample.get(key)) for key in ("flops", "kept"))
    if not (seconds and moved and peak and matrix and whole and sample["kept"]):
        message = "the time, the bytes it moves or the machine's limits are missing: nothing was measured"
        return Verdict("timing", name, Status.ERROR, message, lane=lane)
    bandwidth, rate = moved / seconds / peak, flops / seconds / matrix
    status, message = (
        Status.PASS,
        f"{1e6 * seconds:.4g} us: {bandwidth:.0%} of the measured bandwidth, {rate:.0%} of the ",
    )
    message += "GEMM peak"
    if bandwidth > TOLERANCE:
        status, message = Status.ERROR, f"refused: {bandwidth:.0%} of the measured bandwidth, so inputs were cached"
    elif rate > TOLERANCE:
        status, message = Status.ERROR, f"refused: {rate:.0%} of the measured GEMM peak, so work was left out"
    return Verdict(
        gate="timing",
        subject=name,
        status=status,
        message=message + (", disturbed throughout" if sample.get("disturbed") else ""),
        value=1e6 * seconds,
        unit="us",
        lane=lane,
        metrics=_metrics(sample, evidence) | {"of_bandwidth": bandwidth, "of_gemm_peak": rate},
    )


def _metrics(sample: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, object]:
    """Spread and control in microseconds, like the value; and the sample's clocks."""
    metrics: dict[str, object] = {"spread": {key: 1e6 * positive(sample.get(key)) for key in ("low", "high")}}
    metrics |= {key: sample[key] for key in ("kept", "discarded", "clock", "power", "copies", "cold") if key in sample}
    if positive(sample.get("control")):
        metrics |= {"control": 1e6 * sample["control"], "control_name": evidence.get("control", "")}
    return metrics


def subjects(settings: Settings) -> list[str]:
    """The series: each op in each production shape."""
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import series

    return [one.name for one in series(kernels.find())]


def run(settings: Settings, names: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Time every op, whichever of its series are selected: they are measured in one session."""
    from braidcheck import kernels
    from braidcheck.benchmarks.timing import measure_timing

    return evaluate(measure_timing(kernels.find(), progress), settings.lane, subjects(settings))


GATE = Gate(
    name="timing",
    question="How close does each kernel come to this machine's roofline, and is the time plausible?",
    failure_page="speed",
    subjects=subjects,
    run=run,
    per_op=True,
    timed=True,
    needs_gpu="no GPU: a CPU's times say nothing about kernels",
    stand_in=ALL_KERNELS,
    timeout_s=1800,
)
