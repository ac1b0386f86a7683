"""The sizes gate: tests both sides of every size at which a kernel or its launch changes, and rows with other
neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypedDict

from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings


class Evidence(TypedDict):
    """One sweep: the tested ``sizes``, those of them at which launches change (``switches``), and the first
    ``violation``, which ends the sweep."""

    op: str
    sweep: str
    sizes: list[int]
    switches: list[int]
    violation: str | None


def evaluate(evidence: Sequence[Evidence], subject: str, lane: str = "") -> Verdict:
    """One verdict on an op, or on one sweep of it, from its evidence: fail if any sweep has a violation. A sweep
    without a size, or no sweep at all, is an error.
    """
    broken = {row["sweep"]: row["violation"] for row in evidence if row["violation"]}
    empty = [row["sweep"] for row in evidence if not row["sizes"]]
    sizes = sum(len(row["sizes"]) for row in evidence)
    status, message = Status.PASS, f"right at {sizes} sizes along {', '.join(row['sweep'] for row in evidence)}"
    if broken:
        more = f"; {len(broken) - 1} more of {len(evidence)} sweeps fail" if len(broken) > 1 else ""
        status, message = Status.FAIL, f"{next(iter(broken.values()))}{more}"
    elif empty or not evidence:
        status, message = Status.ERROR, f"no size was checked{' along ' if empty else ''}{', '.join(empty)}"
    return Verdict(
        gate="sizes",
        subject=subject,
        status=status,
        message=message,
        value=len(broken),
        limit=0,
        unit="sweeps with a violation",
        lane=lane,
        metrics={
            "sizes": {row["sweep"]: len(row["sizes"]) for row in evidence},
            "largest": {row["sweep"]: max(row["sizes"], default=0) for row in evidence},
            "switches": {row["sweep"]: row["switches"] for row in evidence if row["switches"]},
            "broken": broken,
        },
    )


def subjects(settings: Settings) -> list[str]:
    """Each sweep of each op."""
    return [sweep.name for op in chosen_ops(settings).values() for sweep in op.sweeps]


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Test the ops of the package under test along these sweeps; in the interpreter up to ``max_size``, and around the
    limits that an op's own code names."""
    from braidcheck import kernels
    from braidcheck.gates.sizes.measure import measure_sweep
    from braidcheck.gates.under_test import wrapper

    known = {sweep.name: (op, sweep) for op in kernels.find().values() for sweep in op.sweeps}
    for subject in subjects:
        op, sweep = known[subject]
        if settings.lane != "gpu":  # the far sizes would take half of the time; on a CPU mutants and soak test them
            sweep = replace(sweep, far=())
        yield evaluate([measure_sweep(op, wrapper(op.name), sweep, settings.device)], subject)


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.sizes.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="sizes",
    question="Is each op right on both sides of every size at which the kernel, block or split changes, and does a row "
    "keep its bits whatever its neighbours are?",
    failure_page="numbers",
    subjects=subjects,
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    load_trial_checks=_trial_checks,
)
