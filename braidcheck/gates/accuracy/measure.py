"""Runs an op, or a candidate for it, on a case and returns the evidence as plain data."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.evidence import Evidence
from braidcheck.gates.accuracy.outputs import output_dtype, output_evidence, output_problems
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import wrapper
from braidcheck.gpu_memory import is_out_of_memory
from braidcheck.numerics import bias, casts
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run, with_finite_poison
from braidcheck.numerics.error import distance, largest_error_ratio, relative_error
from braidcheck.op import Case, Op

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]  # a wrapper to the same wrapper, watched


def measure_op(op: Op, case: Case, device: str = "cpu", function: Callable[..., Any] | None = None) -> Evidence:
    """The evidence on ``function`` (default: the op's own wrapper) on ``case``, as JSON data."""
    function = function or op.call
    evidence: Evidence = {
        "op": op.name,
        "case": case.id,
        "profile": case.profile,
        "dtype": case.dtype,
        "device": device,
        "missing": _missing(function, case),
        "raised": None,
        "problems": [],
        "outputs": [],
        "seconds": 0.0,
    }
    if evidence["missing"]:
        return evidence
    question = _question(op, case, device)
    inputs = question.inputs
    evidence["poisoned"] = [] if case.profile == "nan" else question.with_nan
    finite = has_finite_poison(case)
    started = time.perf_counter()
    try:
        with poisoned_outputs(finite):
            got = run(op, function, copies(inputs))
            if device != "cpu":
                torch.cuda.synchronize()
    except Exception as error:  # any exception of a kernel counts against it; it is no error of the gate
        if is_out_of_memory(error):  # which says nothing about the kernel
            raise
        evidence["raised"] = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        )
        return evidence
    evidence["seconds"] = time.perf_counter() - started
    # Computed only now, so that the function could not find the answer in memory.
    exact = question.exact
    evidence["problems"] = output_problems(op, inputs, got, exact)
    if not evidence["problems"]:
        evidence["outputs"] = [
            output_evidence(name, distance(value, truth, tolerance, part, rounded), *errors)
            for name, value, truth, tolerance, part, rounded, errors in zip(
                op.outputs,
                got,
                exact,
                question.bounds,
                question.systematic,
                question.rounded,
                question.errors,
                strict=False,
            )
        ]
    return evidence


class _Question:
    """The inputs of a case and what is known of the answer; computed when it is first asked for."""

    def __init__(self, op: Op, case: Case, device: str) -> None:
        self._op = op
        inputs = op.inputs(case, device)
        self.with_nan = _with_nan(inputs)
        self.inputs = with_finite_poison(inputs) if has_finite_poison(case) else inputs

    @cached_property
    def exact(self) -> tuple[Any, ...]:
        """The exact outputs."""
        return run(self._op, self._op.reference, in_float64(self.inputs))

    @cached_property
    def bounds(self) -> tuple[Tensor, ...]:
        """The bounds of the outputs: often dearer than these, and not needed for outputs of a wrong dtype."""
        bounds: tuple[Tensor, ...] = self._op.bound(**self.inputs)
        return bounds

    @cached_property
    def baseline(self) -> list[Tensor]:
        """The outputs of the reference in the types that the contract gives."""
        return self._outputs()

    @cached_property
    def rounded(self) -> list[Tensor]:
        """The baseline with all further casts that the contract permits, which may lean."""
        permitted = casts.of_op(self._op, self.inputs)
        if not permitted or (self._has_few_rows and not any(map(_is_wide, self.baseline))):
            return self.baseline
        with casts.applied(permitted):
            return self._outputs()

    def _outputs(self) -> list[Tensor]:
        outputs = run(self._op, self._op.reference, copies(self.inputs))
        named = zip(self._op.outputs, outputs, strict=False)
        return [output.to(output_dtype(self._op, name, self.inputs)) for name, output in named]

    @cached_property
    def errors(self) -> list[tuple[float, float]]:
        """Error ratio and relative error of each output of the baseline. A float32 output has no last rounding that
        would be as large as a permitted cast to 16 bits: there the relative error is that with these casts."""
        return [
            (largest_error_ratio(value, truth, tolerance), relative_error(cast if _is_wide(value) else value, truth))
            for value, cast, truth, tolerance in zip(self.baseline, self.rounded, self.exact, self.bounds, strict=False)
        ]

    @cached_property
    def systematic(self) -> tuple[Tensor, ...]:
        """The part of each bound that may lie on one side: what is left of it where nothing is cast to 16 bits."""
        bounds = self.bounds
        if self._has_few_rows:
            return bounds
        wide = {
            name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in self.inputs.items()
        }
        parts: tuple[Tensor, ...] = self._op.bound(**wide)
        return tuple(torch.minimum(part, tolerance) for part, tolerance in zip(parts, self.bounds, strict=True))

    @property
    def _has_few_rows(self) -> bool:
        """Whether there are too few rows to show what all have in common."""
        return all(len(tolerance) < bias.MIN_ROWS for tolerance in self.bounds)


def _is_wide(output: Tensor) -> bool:
    return output.dtype == torch.float32


_questions: ContextVar[dict[tuple[Any, ...], _Question] | None] = ContextVar("questions", default=None)


@contextmanager
def answers_kept() -> Iterator[None]:
    """Within it the answers of small cases are computed once and kept. Only for functions that run in another process:
    in the process of a function no answer may exist while it runs."""
    token = _questions.set({})
    try:
        yield
    finally:
        _questions.reset(token)


def _question(op: Op, case: Case, device: str) -> _Question:
    kept = _questions.get()
    if kept is None or case.large:
        return _Question(op, case, device)
    key = op.inputs, op.reference, op.bound, tuple(op.contract.outputs.items()), case.id, device
    if key not in kept:
        kept[key] = _Question(op, case, device)
    return kept[key]


def _with_nan(inputs: Mapping[str, Any]) -> list[str]:
    floats = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.is_floating_point()}
    return [name for name, value in floats.items() if bool(value.isnan().any())]


def has_finite_poison(case: Case) -> bool:
    """Whether memory that ``case`` may not read is poisoned with a finite number: half of the cases, but none whose
    inputs hold NaN on purpose."""
    return case.profile != "nan" and case.entropy % 2 == 1


def _missing(function: Callable[..., Any], case: Case) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [name for name in case.needs if name not in {p.name for p in parameters}]


def case_check(op: Op, case: Case, device: str, guard: Guard = lambda call: call) -> str | None:
    """The violation on one case by the wrapper under test, called through ``guard``."""
    return accuracy.violation(measure_op(op, case, device, guard(wrapper(op.name))))


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """One check per case, the large ones last."""
    cases = [(op, case) for op in trial.ops.values() for case in op.cases if trial.device != "cpu" or not case.large]
    for op, case in sorted(cases, key=lambda pair: (pair[1].large, trial.case_seconds.get(pair[1].id, 0.0))):
        check = partial(case_check, op, case, trial.device)
        # At the same time, the largest cases of several workers would not fit on one GPU.
        yield case.id, trial.one_by_one(check) if case.large else check
