"""The checks of ``braidcheck check``: those of the gates for an op, by subject."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck import kernels
from braidcheck.cli.candidate_run import DECLARED
from braidcheck.cli.contract_fit import fit, require_told
from braidcheck.cli.drawn_cases import drawn_cases
from braidcheck.errors import UserError
from braidcheck.gates import GATES, accuracy, violations
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.calls.layouts import OVERLAPS
from braidcheck.gates.calls.observe import same_bits
from braidcheck.gates.gate import Fixtures, Gate, Trial
from braidcheck.gates.races.measure import race_cases
from braidcheck.gates.under_test import run_check
from braidcheck.gates.under_test.candidate import Candidate
from braidcheck.gpu_memory import is_out_of_memory
from braidcheck.isolation.process import EndedError
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import Convention
from braidcheck.numerics.conventions import name as name_of
from braidcheck.op import Case, Op, Sweep
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

# Promises that only braidcheck's kernels make, about calls without a right answer, and how they read for other
# functions.
OURS_ALONE = ("a position outside the table gives NaN", "a length below 0 gives zeros")
OURS_ALONE_SAID = "other libraries do not promise this"


@dataclass(frozen=True)
class Subject:
    """One check and its verdict; ``dtype`` is that of an op's own case that can run here, else empty."""

    gate: str
    name: str
    evaluate: Callable[[], Verdict]
    dtype: str = ""


def subjects(
    op: Op, candidate: Candidate, device: str, seed: int, chosen: str = "", declared: tuple[Convention, ...] = ()
) -> list[Subject]:
    """The checks whose name contains ``chosen``, in a fixed order; the candidate must be in use. It is held to the
    contract with the ``declared`` conventions, or else to the one that it keeps. Raises UserError if no name matches.
    """
    contract = f"{op.name}[contract]"
    require_told(op, declared, device)
    op = under(op, declared)
    questions = _checks_of(op, candidate, device, seed)
    if not any(chosen in name for name in (contract, *(subject.name for subject in questions))):
        raise UserError(f"no case of {op.name} contains {chosen!r}; see: braidcheck list --json")
    if declared:
        verdict = Verdict("accuracy", contract, Status.PASS, f"{DECLARED}{name_of(op, declared)}")
        contract_subject = Subject("accuracy", contract, lambda: verdict)
        return [contract_subject, *(subject for subject in questions if chosen in subject.name)]
    fitting = fit(op, candidate, device, lambda case: not candidate.missing(case))
    if fitting.said:
        status = Status.FAIL if fitting.other_op else Status.PASS
        evaluate = partial(Verdict, "accuracy", contract, status, fitting.said)
        questions = [Subject("accuracy", contract, evaluate), *_checks_of(fitting.op, candidate, device, seed)]
    return [subject for subject in questions if chosen in subject.name]


def _checks_of(op: Op, candidate: Candidate, device: str, seed: int) -> list[Subject]:
    # Other libraries need not be batch-invariant: no row's bits are compared among other rows. A case with an argument
    # that the function lacks is reported once.
    served = tuple(case for case in op.cases if not candidate.missing(case))
    sweeps = tuple({sweep.name: sweep for sweep in map(partial(_plain, candidate), op.sweeps) if sweep}.values())
    ours = replace(op, cases=served, sweeps=sweeps, contract=replace(op.contract, batch_invariant=0))
    subjects = [*_cases(ours, op, candidate, device, seed)]
    if served:
        subjects += [subject for gate in _gates(device) for subject in _checks_of_gate(gate, ours, candidate, device)]
    return subjects


def _plain(candidate: Candidate, sweep: Sweep) -> Sweep | None:
    """The sweep as far as the candidate supports it: without the options that it lacks; None if the sweep is along one
    of them."""
    case = sweep.case
    if candidate.missing(case):
        sizes = {name: size for name, size in case.axes.items() if name[0].isupper()}
        case = replace(case, axes=sizes, needs=())
    return replace(sweep, case=case, rows=False) if set(sweep.axes) <= set(case.axes) else None


def _cases(ours: Op, op: Op, candidate: Candidate, device: str, seed: int) -> Iterator[Subject]:
    """The op's own cases, then each again with sizes and numbers drawn by the seed."""
    for case in op.cases:
        needs_gpu = case.large and device == "cpu"
        if lacking := candidate.missing(case):
            yield _skipped(case, f"does not take {' or '.join(lacking)}", "" if needs_gpu else case.dtype)
        elif needs_gpu:
            yield _skipped(case, "large cases need a GPU")
        else:
            yield Subject("accuracy", case.id, partial(_accuracy, ours, case, candidate, device, False), case.dtype)
    for case in drawn_cases(ours, seed):
        yield Subject("accuracy", case.id, partial(_accuracy, ours, case, candidate, device, True))


def _skipped(case: Case, why: str, dtype: str = "") -> Subject:
    return Subject("accuracy", case.id, partial(Verdict, "accuracy", case.id, Status.SKIPPED, why), dtype)


def _accuracy(op: Op, case: Case, candidate: Candidate, device: str, drawn: bool) -> Verdict:
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        evidence = measure_op(op, case, device, candidate if case.large else _keeping(candidate, kept))
    except Exception as error:  # its type may be one of the function's process: name and text tell
        if not is_out_of_memory(error):
            raise
        return _out_of_memory(op, case, *torch.cuda.mem_get_info())
    if drawn:  # the limits on whole outputs apply to the sizes of the op's own cases only
        for output in evidence["outputs"]:
            output["baseline_relative"] = math.inf
    verdict = _fair(accuracy.evaluate(evidence), candidate)
    if verdict.status == Status.PASS and kept:
        candidate.look()  # by now a background thread would have finished
        if not all(same_bits(value, before) for value, before in kept):
            return replace(verdict, status=Status.FAIL, message=f"{op.name}: a result changes after it was returned")
    return verdict


def _out_of_memory(op: Op, case: Case, free: int, total: int) -> Verdict:
    """A failure of the function if a small case needs more than half of the GPU's memory, else a lack of the
    machine."""
    if not case.large and 2 * free > total:
        message = f"{op.name} needs more memory for a small case than the {free >> 30} GiB that are free"
        return Verdict("accuracy", case.id, Status.FAIL, message)
    message = "the GPU has too little free memory for this case; stop other programs on it"
    return Verdict("accuracy", case.id, Status.ERROR, message)


def _keeping(candidate: Candidate, kept: list[tuple[Tensor, Tensor]]) -> Callable[..., Any]:
    """The candidate, wrapped to keep copies of its results as they were returned."""

    @functools.wraps(candidate)
    def call(*args: Any, **kwargs: Any) -> Any:
        returned = candidate(*args, **kwargs)
        values = returned if isinstance(returned, tuple) else (returned,)
        kept.extend((value, value.clone()) for value in values if isinstance(value, Tensor))
        return returned

    return call


def _lane(device: str) -> str:
    return "gpu" if device == "cuda" else "interpret"


def _gates(device: str) -> Iterator[Gate]:
    """The gates that can check a user's function: on a GPU its races cannot be detected."""
    lane = _lane(device)
    for gate in GATES.values():
        applies = gate.per_op and gate.runs_kernels and not gate.timed and not gate.why_not(lane)
        if applies and gate.name != "accuracy" and not (gate.name == "races" and device == "cuda"):
            yield gate


def _checks_of_gate(gate: Gate, op: Op, candidate: Candidate, device: str) -> Iterator[Subject]:
    """The checks of one gate for an op."""
    if gate.name == "races":
        for case in race_cases(op):
            race = partial(_race, op, case, candidate)
            yield Subject(gate.name, case.id, partial(_checked, gate.name, case.id, race, candidate))
    elif gate.load_trial_checks:
        trial = Trial({op.name: op}, device, {}, Fixtures())
        for name, check in gate.load_trial_checks()(trial):
            if not name.endswith(OVERLAPS):  # other functions need not refuse what has no right answer
                subject = name if name.startswith(f"{op.name}[") else f"{op.name}[{name.removeprefix(f'{op.name}: ')}]"
                yield Subject(gate.name, subject, partial(_checked, gate.name, subject, check, candidate))
    else:
        run = partial(gate.run, Settings(_lane(device), ""), [op.name], lambda text: None)
        yield Subject(gate.name, op.name, partial(_run, run, op, candidate))


def _race(op: Op, case: Case, candidate: Candidate) -> str | None:
    return candidate.race(op.inputs(case, "cpu"))


def _checked(gate: str, subject: str, check: Callable[[], str | None], candidate: Candidate) -> Verdict:
    candidate.raised = None
    ours_alone = subject.endswith(tuple(f"[{name}]" for name in OURS_ALONE))
    try:
        verdict = _fair(violations.evaluate(gate, subject, {subject: run_check(check)}), candidate)
    except EndedError as how:
        if not ours_alone:
            raise
        return Verdict(gate, subject, Status.SKIPPED, f"{OURS_ALONE_SAID}: the function {how}")
    if ours_alone and verdict.status == Status.FAIL:
        return replace(verdict, status=Status.SKIPPED, message=f"{OURS_ALONE_SAID}: {verdict.message}")
    return verdict


def _run(run: Callable[[], Iterable[Verdict]], op: Op, candidate: Candidate) -> Verdict:
    candidate.raised = None
    whole = kernels.find()[op.name]
    kernels.find()[op.name] = op  # with the cases that the candidate supports
    try:
        (verdict,) = run()
    finally:
        kernels.find()[op.name] = whole
    return _fair(verdict, candidate)


def _fair(verdict: Verdict, candidate: Candidate) -> Verdict:
    """The verdict, skipped if the function refused the call; with the line that raised."""
    if verdict.status not in (Status.FAIL, Status.ERROR) or candidate.raised is None:
        return verdict
    if candidate.uninterpreted:
        return Verdict(verdict.gate, verdict.subject, Status.SKIPPED, candidate.uninterpreted)
    if refusal := candidate.refusal():
        return Verdict(verdict.gate, verdict.subject, Status.SKIPPED, f"not supported: {refusal}")
    return replace(verdict, message=f"{verdict.message} ({candidate.where})") if candidate.where else verdict
