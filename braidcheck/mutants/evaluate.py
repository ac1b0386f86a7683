"""One trial: runs the gates of a mutant, in each the expected subject first, on the mutated package in ``sys.modules``.

Only the package under test is mutated; cases, references, bounds and gates are the worker's, which are not.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from braidcheck import kernels
from braidcheck.errors import in_one_line
from braidcheck.gates import GATES
from braidcheck.gates.calls.observe import same_bits
from braidcheck.gates.coherence import trial as coherence
from braidcheck.gates.coherence.evidence import Blame
from braidcheck.gates.gate import Check, Fixtures, Trial
from braidcheck.gates.under_test import run_check, wrapper
from braidcheck.mutants.evidence import Result, Task
from braidcheck.numerics.calls import copies, poisoned_outputs, run
from braidcheck.op import Case, Op

REFERENCE_OPS = kernels.find()
# Imported before any mutant, so that none of these is the mutated package's.
TRIAL_CHECKS = {gate.name: gate.load_trial_checks() for gate in GATES.values() if gate.load_trial_checks}


def first_kill(
    task: Task,
    device: str,
    case_seconds: Mapping[str, float],
    fixtures: Fixtures,
    say: Callable[[Result], None],
) -> Result:
    """The first gate and subject that catch the mutant, the message, and the seconds spent on each gate. ``say`` gets
    the gate and subject before each check, in case the mutant ends this process.
    """
    seconds: dict[str, float] = {}
    trial = _trial(task, device, case_seconds, fixtures)
    for gate in task["gates"]:
        began = time.perf_counter()
        result: Result = {}
        for subject, check in sorted(TRIAL_CHECKS[gate](trial), key=lambda named: named[0] != task["first"]):
            say({"gate": gate, "subject": subject})
            if message := run_check(check):
                result = {"outcome": "killed", "gate": gate, "subject": subject, "said": message}
                if "out of memory" in message.lower():  # a full GPU catches no fault
                    result["outcome"] = "error"
                break
        seconds[gate] = round(time.perf_counter() - began, 2)
        if result and task["blame"]:
            result["blame"] = _blame(trial)
        if result:
            return result | {"seconds": seconds}
    return {"outcome": "survived", "seconds": seconds}


def find_witness(task: Task, device: str, case_seconds: Mapping[str, float]) -> Result:
    """The first case on which an op of the mutated package differs in bits from the unmutated one, or a note that none
    does. The quickest cases run first. An exception of the mutated op is a difference too.
    """
    cases = [(REFERENCE_OPS[name], case) for name in task["ops"] for case in REFERENCE_OPS[name].cases]
    cases = [(op, case) for op, case in cases if not case.large]
    for op, case in sorted(cases, key=lambda pair: case_seconds.get(pair[1].id, 0.0)):
        if message := run_check(partial(_difference, op, case, device)):
            return {"outcome": "survived", "witness": f"{case.id}: {message}"}
    return {"outcome": "survived", "witness": f"none found: the same bits on all {len(cases)} cases that are not large"}


def _difference(op: Op, case: Case, device: str) -> str | None:
    inputs = op.inputs(case, device)
    with poisoned_outputs():
        before, after = (run(op, call, copies(inputs)) for call in (op.call, wrapper(op.name)))
    pairs = zip(before, after, strict=True)
    return next(
        (f"{name} has other bits" for name, pair in zip(op.outputs, pairs, strict=False) if not same_bits(*pair)), None
    )


def _trial(task: Task, device: str, case_seconds: Mapping[str, float], fixtures: Fixtures) -> Trial:
    def one_by_one(check: Check) -> Check:
        return lambda: _in_turn(Path(task["overlay"]).parent, check)

    ops = {name: REFERENCE_OPS[name] for name in task["ops"]}
    return Trial(ops, device, case_seconds, fixtures, one_by_one)


def _in_turn(folder: Path, check: Check) -> str | None:
    """Run ``check`` while at most one other trial on this GPU does, then release its memory."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with (folder / f"turn {gpu} {os.getpid() % 2}").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return check()
        finally:
            torch.cuda.empty_cache()


def _blame(trial: Trial) -> Blame:
    """The suspect ops for the failing checks; no op, and the error, if the model cannot be loaded."""
    try:
        engine = coherence.engine(trial)
    except Exception as error:  # then no op has run
        return {"ops": [], "layers": [], "error": in_one_line(error)}
    return coherence.localize(trial, engine)
