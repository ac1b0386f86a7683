"""The process in which ``braidcheck check`` runs a function: lines of JSON to a pipe, a verdict for each subject.

It may die or hang in any subject: the command starts another one past it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from braidcheck.errors import UserError, in_one_line
from braidcheck.result import Status, Verdict


class Request(TypedDict):
    """What the command asks: subjects that contain ``case``, the first ``skip`` of them left out."""

    op: str
    function: str
    device: str
    seed: int
    case: str
    skip: int


@dataclass(frozen=True)
class Subject:
    """One verdict to come."""

    gate: str
    name: str
    evaluate: Callable[[], Verdict]


def load(name: str) -> Callable[..., Any]:
    """The function called ``FILE.py:FUNCTION`` or ``package.module:function``. Raises UserError where there is none."""
    where, colon, wanted = name.rpartition(":")
    if not colon or not where or not wanted:
        raise UserError(f"{name!r} names no function: give FILE.py:FUNCTION or package.module:function")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    except UserError:
        raise
    except BaseException as error:  # a module that ends the process must not read as success
        raise UserError(f"{where} cannot be imported: {in_one_line(error)}") from None
    found = module
    for part in wanted.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UserError(f"{where} has no function {wanted!r}")
    return found


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))  # as if it were run: its neighbours can be imported
    spec = importlib.util.spec_from_file_location(f"candidate_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def subjects(request: Request) -> list[Subject]:
    """All that is asked of the function, in a fixed order. Raises UserError for a function or case that is none."""
    from braidcheck import kernels
    from braidcheck.gates.under_test import use_candidate
    from braidcheck.gates.under_test.candidate import Candidate

    op = kernels.find()[request["op"]]
    candidate = Candidate(op, load(request["function"]))
    use_candidate(op.name, candidate)
    # What others promise of batches is theirs: no row's bits are compared among other rows. A case with an argument
    # that the function lacks is told once.
    served = tuple(case for case in op.cases if not candidate.missing(case))
    sweeps = tuple(replace(sweep, rows=False) for sweep in op.sweeps if not candidate.missing(sweep.case))
    ours = replace(op, cases=served, sweeps=sweeps, contract=replace(op.contract, batch_invariant=0))
    kernels.find()[op.name] = ours
    found = [*_cases(ours, op, candidate, request), *(_gates(ours, candidate, request) if served else ())]
    chosen = [subject for subject in found if request["case"] in subject.name]
    if not chosen:
        raise UserError(f"no case of {op.name} holds {request['case']!r}; see: braidcheck list --json")
    return chosen


def _cases(ours: Any, op: Any, candidate: Any, request: Request) -> Iterator[Subject]:
    """The op's own cases, then each once more with sizes and numbers drawn by the seed."""
    from braidcheck.cli.drawn_cases import drawn_cases

    for case in op.cases:
        if lacking := candidate.missing(case):
            yield _skipped(case.id, f"does not take {' or '.join(lacking)}")
        elif case.large and request["device"] == "cpu":
            yield _skipped(case.id, "large cases need a GPU")
        else:
            yield Subject("accuracy", case.id, partial(_accuracy, ours, case, candidate, request["device"], False))
    for case in drawn_cases(ours, request["seed"]):
        yield Subject("accuracy", case.id, partial(_accuracy, ours, case, candidate, request["device"], True))


def _skipped(subject: str, why: str) -> Subject:
    return Subject("accuracy", subject, partial(Verdict, "accuracy", subject, Status.SKIPPED, why))


def _accuracy(op: Any, case: Any, candidate: Any, device: str, drawn: bool) -> Verdict:
    from braidcheck.gates import accuracy
    from braidcheck.gates.accuracy.measure import measure_op
    from braidcheck.gpu_memory import is_out_of_memory

    try:
        evidence = measure_op(op, case, device, candidate)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        said = "the GPU has too little free memory for this case; end other programs on it"
        return Verdict("accuracy", case.id, Status.ERROR, said)
    if drawn:  # the limits on an output as a whole are for the sizes of the op's own cases
        for output in evidence["outputs"]:
            output["baseline_relative"] = math.inf
    return _fair(accuracy.evaluate(evidence), candidate, drawn)


def _gates(op: Any, candidate: Any, request: Request) -> Iterator[Subject]:
    """What the other gates ask of an op."""
    from braidcheck.gates import GATES
    from braidcheck.gates.calls.layouts import OVERLAPS
    from braidcheck.gates.gate import Fixtures, Trial
    from braidcheck.settings import Settings

    lane = "gpu" if request["device"] == "cuda" else "interpret"
    for gate in GATES.values():
        if gate.name == "accuracy" or not (gate.per_op and gate.runs_kernels) or gate.timed or gate.why_not(lane):
            continue
        if gate.load_trial_checks:
            trial = Trial({op.name: op}, request["device"], {}, Fixtures())
            for name, check in gate.load_trial_checks()(trial):
                if name.endswith(OVERLAPS):  # others need not refuse what has no right answer
                    continue
                subject = name if name.startswith(f"{op.name}[") else f"{op.name}[{name.removeprefix(f'{op.name}: ')}]"
                yield Subject(gate.name, subject, partial(_checked, gate.name, subject, check, candidate))
        else:
            run = partial(gate.run, Settings(lane, ""), [op.name], lambda text: None)
            yield Subject(gate.name, op.name, partial(_run, run, candidate))


def _checked(gate: str, subject: str, check: Callable[[], str | None], candidate: Any) -> Verdict:
    from braidcheck.gates import violations
    from braidcheck.gates.under_test import run_check

    candidate.raised = None
    return _fair(violations.evaluate(gate, subject, {subject: run_check(check)}), candidate, True)


def _run(run: Callable[[], Any], candidate: Any) -> Verdict:
    candidate.raised = None
    (verdict,) = run()
    return _fair(verdict, candidate, True)


def _fair(verdict: Verdict, candidate: Any, may_refuse: bool) -> Verdict:
    """The verdict, skipped where the interpreter is at fault, or the function refused what the op's own cases do not
    ask; with the line that raised."""
    if verdict.status not in (Status.FAIL, Status.ERROR) or candidate.raised is None:
        return verdict
    if skipped := _uninterpreted(verdict.gate, verdict.subject, candidate.raised):
        return skipped
    if may_refuse and (refusal := candidate.refusal()):
        return Verdict(verdict.gate, verdict.subject, Status.SKIPPED, f"not served: {refusal}")
    where = candidate.where()
    return replace(verdict, message=f"{verdict.message} ({where})") if where else verdict


def _uninterpreted(gate: str, subject: str, error: BaseException) -> Verdict | None:
    """The verdict where the interpreter, and not the function, is at fault for ``error``."""
    from braidcheck.kernels.common.interpreter_language import cannot_interpret

    reason = cannot_interpret(error)
    said = f"the interpreter cannot run this kernel, a GPU may: {reason}"
    return Verdict(gate, subject, Status.SKIPPED, said) if reason else None


def main() -> None:
    """Run with PIPE REQUEST: tell the subjects, then begin and verdict of each; a last line ends it."""
    pipe, request = os.fdopen(int(sys.argv[1]), "w", buffering=1), json.loads(sys.argv[2])

    def say(row: Mapping[str, Any]) -> None:
        pipe.write(json.dumps(row) + "\n")

    os.dup2(2, 1)  # what the function prints is not the answer
    try:
        asked = subjects(request)
    except UserError as error:
        say({"refused": str(error), "code": error.exit_code})
        return
    say({"subjects": [[subject.gate, subject.name] for subject in asked]})
    for number, subject in enumerate(asked[request["skip"] :], request["skip"]):
        say({"begin": number})
        say({"verdict": _verdict(subject).to_json()})
    say({"end": len(asked)})


def _verdict(subject: Subject) -> Verdict:
    try:
        return subject.evaluate()
    except Exception as error:  # of the function, or of the check on what it returned
        failed = Verdict(subject.gate, subject.name, Status.FAIL, in_one_line(error))
        return _uninterpreted(subject.gate, subject.name, error) or failed
