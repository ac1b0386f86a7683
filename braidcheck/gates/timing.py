"""The timing gate: a kernel's time is a measurement only if this machine could have done it that fast.

Whether a time is good is for the paired gate and the trend to say; here a time that could not be taken, or that implies
more bandwidth or arithmetic than the machine has, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.gates.gate import Gate, Progress
from braidcheck.gates.measured import counted, positive
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

EVERY = "every kernel"  # the subject where nothing can be timed
TOLERANCE = 1.03  # by which a kernel may beat the measured limit: those measurements scatter too


def evaluate(evidence: Mapping[str, Any], lane: str = "", names: Sequence[str] = (EVERY,)) -> tuple[Verdict, ...]:
    """One verdict a series of ``names`` from what ``benchmarks.timing.observe_timing`` saw.

    Without clocks none is judged; a series that was to be timed and was not is red.
    """
    if reason := evidence.get("reason"):
        return tuple(Verdict("timing", name, Status.NOT_JUDGED, reason, lane=lane) for name in names)
    found = evidence.get("series") or {}
    return tuple(_verdict(name, found.get(name) or {"error": "it was not timed"}, evidence, lane) for name in names)


def _verdict(name: str, seen: Mapping[str, Any], evidence: Mapping[str, Any], lane: str) -> Verdict:
    if seen.get("error"):
        return Verdict("timing", name, Status.ERROR, seen["error"], lane=lane)
    limits = evidence.get("limits") or {}
    peak, matrix = max(positive(limits.get("copy")), positive(limits.get("read"))), positive(limits.get("matrix"))
    seconds, moved, flops = (positive(seen.get(key)) for key in ("seconds", "bytes", "flops"))
    whole = all(counted(seen.get(key)) for key in ("flops", "kept"))
    if not (seconds and moved and peak and matrix and whole and seen["kept"]):
        said = "the time, the bytes it moves or the machine's limits are missing: nothing was measured"
        return Verdict("timing", name, Status.ERROR, said, lane=lane)
    bandwidth, rate = moved / seconds / peak, flops / seconds / matrix
    status, said = Status.PASS, f"{1e6 * seconds:.4g} us: {bandwidth:.0%} of the measured bandwidth, {rate:.0%} of the "
    said += "matrix rate"
    if bandwidth > TOLERANCE:
        status, said = Status.ERROR, f"refused: {bandwidth:.0%} of the measured bandwidth, so inputs were cached"
    elif rate > TOLERANCE:
        status, said = Status.ERROR, f"refused: {rate:.0%} of the measured matrix rate, so work was left out"
    return Verdict(
        gate="timing",
        subject=name,
        status=status,
        sentence=said + (", disturbed throughout" if seen.get("disturbed") else ""),
        value=1e6 * seconds,
        unit="us",
        lane=lane,
        numbers=_numbers(seen, evidence) | {"of_bandwidth": bandwidth, "of_matrix_rate": rate},
    )


def _numbers(seen: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Spread and control in microseconds, as the value is; the sample's circumstances as they were seen."""
    numbers = {"spread": {key: 1e6 * positive(seen.get(key)) for key in ("low", "high")}}
    numbers |= {key: seen[key] for key in ("kept", "discarded", "clock", "power", "copies", "cold") if key in seen}
    if positive(seen.get("control")):
        numbers |= {"control": 1e6 * seen["control"], "control_name": evidence.get("control", "")}
    return numbers


def subjects(settings: Settings) -> list[str]:
    """The series: each op in each production shape."""
    from braidcheck import kernels
    from braidcheck.benchmarks.shapes import series

    return [one.name for one in series(kernels.find())]


def run(settings: Settings, names: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Time every op, whichever of its series are asked for: they are measured in one session."""
    from braidcheck import kernels
    from braidcheck.benchmarks.timing import observe_timing

    return evaluate(observe_timing(kernels.find(), progress), settings.lane, subjects(settings))


GATE = Gate(
    name="timing",
    question="How close does each kernel come to this machine's roofline, and is the time plausible?",
    subjects=subjects,
    run=run,
    per_op=True,
    timed=True,
    needs_gpu="no GPU: a CPU's times say nothing about kernels",
    stand_in=EVERY,
    timeout_s=1800,
)
