"""Contracts of ops for your own test files: one pytest item per case.

    from braidcheck.pytest import ops

    @ops.rms_norm.with_(output="input dtype").cases()
    def test_rms_norm(case):
        case.check(my_rms_norm)

The function runs in the test's process, since you trust your own tests; ``braidcheck check`` runs it in a separate one.
As a plugin (``pytest -p braidcheck.pytest``, or ``pytest_plugins`` of a conftest.py) this module adds the fixtures
``guarded`` and ``poisoned_outputs``, and to Triton's interpreter what it lacks. Nothing here is an entry point: pytest
runs that do not name this module are unaffected.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from braidcheck import environment, external_ops

if environment.why_no_gpu() and "triton" not in sys.modules:
    os.environ.setdefault("TRITON_INTERPRET", "1")

from braidcheck import kernels
from braidcheck.cli.candidate_run import HELD
from braidcheck.cli.contract_fit import fit, require_told
from braidcheck.errors import UserError
from braidcheck.gates import GATES, accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.calls.layouts import OVERLAPS
from braidcheck.gates.fence.measure import with_red_zones
from braidcheck.gates.gate import Fixtures, Trial
from braidcheck.gates.under_test import run_check, use_candidate
from braidcheck.gates.under_test.worker import NotTakenError, as_op, takes
from braidcheck.kernels.common import interpreter
from braidcheck.numerics import contract_variants, conventions
from braidcheck.numerics.calls import poisoned_outputs as within_poisoned_outputs
from braidcheck.op import Case, Op

__all__ = ["guarded", "ops", "poisoned_outputs"]

Function = Callable[..., Any]
DEVICE = "cpu" if interpreter.INTERPRETED or environment.why_no_gpu() else "cuda"
DEFAULT_GATES = ("accuracy", "fence")
FUNCTION_GATES = ("accuracy", "fence", "edges", "calls", "sizes", "determinism")  # gates that can check any function


@dataclass(frozen=True, repr=False)
class Question:
    """One case of one gate, to check a function with; ``whole`` is the op including unsupported cases."""

    op: Op
    gate: str
    name: str
    whole: Op
    case: Case | None = None

    def __repr__(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        """The case, and the gate if it is not accuracy."""
        name = self.name.removeprefix(f"{self.op.name}: ")
        return name if self.gate == "accuracy" else f"{self.gate}: {name}"

    def check(self, function: Function) -> None:
        """Fail, with element, bound and ratio, if ``function`` violates the contract; skip if it lacks an optional
        argument of the case. It is called like the op: required arguments by position, optional ones by name."""
        __tracebackhide__ = True
        if self.case is not None and (lacking := _missing(function, self.case)):
            pytest.skip(f"{_name(function)} does not take {' or '.join(lacking)}")
        if violation := self._violation(function):
            raise AssertionError(f"{violation}{self._hint(function)}")

    def _violation(self, function: Function) -> str | None:
        called_as_op = _skipping(as_op(self.op, function))
        if self.case is not None:
            return accuracy.violation(measure_op(self.op, self.case, DEVICE, called_as_op))
        op = replace(self.op, cases=tuple(case for case in self.op.cases if not _missing(function, case)))
        with use_candidate(op.name, called_as_op):
            checks = dict(_checks(op, self.gate))
            if self.name not in checks:
                pytest.skip(f"{_name(function)} lacks an argument of this case")
            return run_check(checks[self.name])

    def _hint(self, function: Function) -> str:
        """The contract that the function keeps instead, if one or two conventions explain it."""
        if self.gate != "accuracy":
            return ""
        fit = _fit(self.whole, function)
        return f"\n{fit.replace(HELD, 'it keeps ', 1)}" if fit else ""


@dataclass(frozen=True)
class Contract:
    """An op's contract, against which functions are checked."""

    op: Op

    def with_(self, **choices: str | float) -> Contract:
        """The contract with these conventions: ``with_(output="input dtype", rounding="before weight")``,
        ``with_(window=64)``.

        Raises UserError for one that the op has not, and for a number that no case of the op tells.
        """
        chosen = conventions.named(self.op, [f"{name}={value}" for name, value in choices.items()])
        require_told(self.op, chosen, DEVICE)
        return Contract(contract_variants.under(self.op, chosen))

    def cases(
        self, serves: Callable[[Case], bool] = lambda case: True, gates: Sequence[str] = DEFAULT_GATES
    ) -> pytest.MarkDecorator:
        """A parametrisation of the argument ``case``: a Question for each gate of ``gates`` (accuracy, fence, edges,
        calls, sizes, determinism) and each case of the op for which ``serves(case)`` is true.

        Large cases need a GPU. Raises UserError for another gate, or where no case is left.
        """
        if unknown := [gate for gate in gates if gate not in FUNCTION_GATES]:
            raise UserError(f"no gate {unknown[0]!r} can be asked of a function; one of {', '.join(FUNCTION_GATES)}")
        served = tuple(case for case in self.op.cases if serves(case) and not (case.large and DEVICE == "cpu"))
        if not served:
            raise UserError(f"serves accepts none of the {len(self.op.cases)} cases of {self.op.name}")
        sweeps = tuple(replace(sweep, rows=False) for sweep in self.op.sweeps if serves(sweep.case))
        # Other libraries need not be batch-invariant: no row's bits are compared among other rows.
        op = replace(self.op, cases=served, sweeps=sweeps, contract=replace(self.op.contract, batch_invariant=0))
        questions = [question for gate in gates for question in _questions(op, gate, self.op)]
        return pytest.mark.parametrize("case", [pytest.param(question, id=question.id) for question in questions])


class Contracts:
    """The contracts by op: braidcheck's, and those that your pyproject.toml or an installed package names."""

    def __getattr__(self, name: str) -> Contract:
        with external_ops.announced(folder=Path.cwd()):
            all_ops = kernels.find()
        if name not in all_ops:
            raise AttributeError(f"no op {name!r}; one of {', '.join(sorted(all_ops))}")
        return Contract(all_ops[name])


ops = Contracts()


@pytest.fixture
def poisoned_outputs() -> Iterator[None]:
    """During the test every ``torch.empty`` is filled with NaN, so that elements that a kernel does not write show."""
    with within_poisoned_outputs():
        yield


@pytest.fixture
def guarded() -> Callable[[Function], Function]:
    """``guarded(function)`` calls the function with guards around each tensor and NaN between its rows. Writing outside
    of a tensor raises OutOfBoundsError; on a CPU reading there ends the process.
    """
    return with_red_zones


def _questions(op: Op, gate: str, whole: Op) -> Iterator[Question]:
    if gate == "accuracy":
        yield from (Question(op, gate, case.id, whole, case) for case in op.cases)
        return
    with use_candidate(op.name, op.call):  # which is not called
        names = [name for name, _ in _checks(op, gate)]
    yield from (Question(op, gate, name, whole) for name in names)


def _checks(op: Op, gate: str) -> Iterator[tuple[str, Callable[[], str | None]]]:
    load = GATES[gate].load_trial_checks
    assert load  # mutants meet all of FUNCTION_GATES
    for name, check in load()(Trial({op.name: op}, DEVICE, {}, Fixtures())):
        if not name.endswith(OVERLAPS):  # other functions need not refuse what has no right answer
            yield name, check


def _skipping(function: Function) -> Function:
    """The function, which skips the test if it lacks a requested argument."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except NotTakenError as error:
            pytest.skip(str(error))

    return call


def _missing(function: Function, case: Case) -> list[str]:
    return [name for name in case.needs if not takes(function, name)]


_fits: dict[tuple[int, Function], str] = {}


def _fit(op: Op, function: Function) -> str:
    key = id(op), function
    if key not in _fits:
        _fits[key] = fit(op, as_op(op, function), DEVICE, lambda case: not _missing(function, case)).said
    return _fits[key]


def _name(function: Function) -> str:
    return getattr(function, "__name__", type(function).__name__)
