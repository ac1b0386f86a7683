"""The static gate: the resources of kernels on chips that need not be present, by themselves and against a baseline. By
itself a kernel must compile, spill nothing, and fit the chip's shared memory. Against the accepted baseline: no new
spills, no lost kind of matrix instruction, no loads or stores narrower by more than 10%, no fewer resident warps, no
more than 10% more instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from braidcheck.arch import GPUS
from braidcheck.gates.gate import ALL_OPS, NO_KERNEL, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.gates.measured import counted, positive
from braidcheck.gates.static_rules import INSTRUCTIONS, RULES, Finding, Row
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

TARGETS = tuple(GPUS)
ACCEPT = "braidcheck static --accept"
COUNTS, KINDS = ("shared", "spills", "registers", "occupancy"), ("matrix", "loads", "stores")  # required keys of a row


def op_subjects(op: str) -> tuple[str, ...]:
    """The subjects of one op: each target by itself, and against the baseline."""
    return tuple(f"{op}[{target}{suffix}]" for target in TARGETS for suffix in ("", " baseline"))


def evaluate(
    evidence: Mapping[str, Any],
    baseline: Sequence[Row] | None,
    op: str,
    lane: str = "",
    excused: Mapping[tuple[str, ...], str] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Two verdicts a target on ``op``, from what ``static.measure`` saw and the ``baseline`` of its Triton version.

    Without a baseline, or where only one of the two knows some configuration and no other is worse, the comparison is
    skipped; without any configuration, or with one that was not read, both are an error. ``excused`` gives the
    reason why a configuration may spill.
    """
    verdicts = []
    for target in TARGETS:
        rows = _of(evidence["rows"], op, target)
        known = None if baseline is None else _of(baseline, op, target)
        alone, compared = f"{op}[{target}]", f"{op}[{target} baseline]"
        if lost := _lost(rows):
            verdicts += [Verdict("static", subject, Status.ERROR, lost, lane=lane) for subject in (alone, compared)]
            continue
        verdicts.append(_alone(rows, alone, lane, excused))
        held = None if known is None else {_key(row): row for row in known if not _unread(row)}
        verdicts.append(_compared(rows, held, compared, evidence["triton"], lane))
    return tuple(verdicts)


def _of(rows: Sequence[Row], op: str, target: str) -> list[Row]:
    return [row for row in rows if (row["op"], row["target"]) == (op, target)]


def _lost(rows: Sequence[Row]) -> str:
    """Why there is nothing to evaluate; empty if every configuration was read, or could not be compiled."""
    for row in (row for row in rows if not row.get("error")):
        if unread := _unread(row) + ([] if positive(row.get("shared_limit")) else ["the chip's limit"]):
            return f"{row['kernel']} of {row['configuration']} for {row['target']} was not read: {', '.join(unread)}"
    return "" if rows else "no configuration was compiled"


def _unread(row: Row) -> list[str]:
    """The numbers of the machine code that a row lacks."""
    kinds = {name: row.get(name) for name in KINDS}
    return [
        *(name for name in COUNTS if not counted(row.get(name))),
        *(name for name, by in kinds.items() if not (isinstance(by, Mapping) and all(map(counted, by.values())))),
        *(() if positive(row.get("instructions")) else ("instructions",)),
    ]


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ("op", "target", "kernel", "configuration"))


def _alone(rows: Sequence[Row], subject: str, lane: str, excused: Mapping[tuple[str, ...], str]) -> Verdict:
    findings = [(row, finding) for row in rows for finding in _faults(row, _key(row) in excused)]
    if findings:
        return _failed(subject, findings, lane)
    worst, limit = max(row["shared"] for row in rows), rows[0]["shared_limit"]
    spilling = [row for row in rows if row["spills"]]
    reasons = ", ".join(dict.fromkeys(excused[_key(row)] for row in spilling))
    spills = f"{len(spilling)} may spill ({reasons})" if spilling else "none spills"
    message = f"{_count(rows)} compiled, {spills}; at most {worst:,} of {limit:,} bytes of shared memory"
    return Verdict("static", subject, Status.PASS, message, worst, limit, unit="bytes shared", lane=lane)


def _faults(row: Row, may_spill: bool) -> Iterator[Finding]:
    """What is wrong with one configuration regardless of the baseline."""
    if row.get("error"):
        yield Finding(f"does not compile: {row['error']}")
        return
    if row["shared"] > (limit := row["shared_limit"]):
        message = f"takes {row['shared']:,} bytes of shared memory, the chip has {limit:,}"
        yield Finding(message, row["shared"], limit, "bytes shared")
    if row["spills"] and not may_spill:
        message = f"spills {row['spills']} bytes a thread at {row['registers']} registers, none are allowed"
        yield Finding(message, row["spills"], 0, "bytes spilled")


def _compared(
    rows: Sequence[Row], known: Mapping[tuple[str, ...], Row] | None, subject: str, triton: str, lane: str
) -> Verdict:
    pairs = [(row, old) for row in rows if (old := (known or {}).get(_key(row))) and not row.get("error")]
    findings = [(row, finding) for row, old in pairs for rule in RULES if (finding := rule(row, old))]
    if findings:
        return _failed(subject, findings, lane)
    new = len(rows) - len(pairs)
    if new:
        what = "any configuration" if known is None else _count(rows[:new])
        message = f"no baseline of Triton {triton} for {what}; create it with: {ACCEPT}"
        return Verdict("static", subject, Status.SKIPPED, message, lane=lane)
    if gone := sorted((known or {}).keys() - {_key(row) for row in rows}):
        name = f"{gone[0][2]} of {gone[0][3]}" + (f" and {len(gone) - 1} more" if len(gone) > 1 else "")
        message = f"{name}, in the baseline of Triton {triton}, was not compiled; if that is intended: {ACCEPT}"
        return Verdict("static", subject, Status.SKIPPED, message, lane=lane)
    ratio = max(row["instructions"] / old["instructions"] for row, old in pairs)
    message = f"{_count(rows)} no worse than the baseline of Triton {triton}; instructions at most {ratio:.2f} times"
    return Verdict("static", subject, Status.PASS, message, ratio, INSTRUCTIONS, unit="x instructions", lane=lane)


def _failed(subject: str, findings: Sequence[tuple[Row, Finding]], lane: str) -> Verdict:
    """All that is wrong with the first configuration, and how many others are worse."""
    first, finding = findings[0]
    wrong: dict[str, list[str]] = {}
    for row, other in findings:
        wrong.setdefault(f"{row['kernel']} of {row['configuration']}", []).append(other.message)
    (name, messages), *others = wrong.items()
    more = f" (and {len(others)} more configuration{'s' * (len(others) > 1)})" if others else ""
    return Verdict(
        gate="static",
        subject=subject,
        status=Status.FAIL,
        message=f"{name} for {first['target']} {'; '.join(messages)}{more}",
        value=finding.value,
        limit=finding.limit,
        higher_is_better=finding.higher_is_better,
        unit=finding.unit,
        lane=lane,
        metrics=wrong,
    )


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} configuration{'s' * (len(rows) > 1)}"


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Compile the ops of these subjects for every target, wherever this runs."""
    from braidcheck import kernels
    from braidcheck.static import baseline
    from braidcheck.static.measure import measure_static

    ops = tuple(dict.fromkeys(subject.split("[")[0] for subject in subjects))
    evidence = measure_static(ops, progress)
    accepted, excused = baseline.read(evidence["triton"]), baseline.excused(evidence["triton"])
    with_kernels = {*kernels.names(), *(row["op"] for row in evidence["rows"])}
    for op in ops:
        if op in with_kernels:
            yield from evaluate(evidence, accepted, op, settings.lane, excused)
        else:
            message = NO_KERNEL.format(op)
            yield from (
                Verdict("static", name, Status.SKIPPED, message, lane=settings.lane) for name in op_subjects(op)
            )


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.static_trials import trial_checks

    return trial_checks


GATE = Gate(
    name="static",
    question="Do the kernels compile for every target without spills, and use no more resources than the accepted "
    "baseline?",
    failure_page="speed",
    subjects=lambda settings: [subject for op in chosen_ops(settings) for subject in op_subjects(op)],
    run=run,
    per_op=True,
    shared=True,
    stand_in=ALL_OPS,
    timeout_s=1800,
    load_trial_checks=_trial_checks,
)
