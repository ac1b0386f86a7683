"""The accuracy gate: does an op stay within the error that its contract permits?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from braidcheck.gates.accuracy.evidence import Evidence, Output
from braidcheck.gates.gate import ALL_OPS, Gate, Progress, TrialChecks, chosen_ops
from braidcheck.op import Case, Op
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

LIMIT = 1.0  # error ratio; equivalent implementations stay below 0.5, a mutant must pass 1 on some case

NORM_LIMITS = {"float32": 16.0, "bfloat16": 8.0, "float16": 8.0}
"""By storage type, how many times the PyTorch baseline's own error an output may have, in the 2-norm.

A bound per element allows for the worst case of all roundings, so a chain of ops leaves room for a fault that shifts
every element a little; in the norm, roundings average out. Kernels and equivalent implementations reach 3.2 times with
16-bit roundings and 7.2 times in float32, where only the order of sums differs (8 functions per op, 3 seeds, H200,
2026-11-21).
"""
POISONS = (2.0**100, 65504 / 4)  # of ``numerics.calls.poison``: for bfloat16 and float32, and for float16
U32 = 2.0**-24  # floor for the PyTorch baseline's error, which may be small by luck

PEAK_PER_INPUT_BYTE = 40
"""Peak GPU memory over the bytes of the inputs, of which there are three copies in their own type and one in float64;
references and bounds work in float64. The largest factor measured on an H200 is 38, for rms_norm[T65536]."""


def evaluate(evidence: Evidence, lane: str = "") -> Verdict:
    """Verdict on one case from the evidence of ``measure.measure_op``: fail above an error ratio of 1, or without a
    result."""
    status, message, error_ratio, metrics = _answer(evidence)
    return Verdict(
        gate="accuracy",
        subject=evidence["case"],
        status=status,
        message=message,
        value=error_ratio,
        limit=LIMIT if error_ratio is not None else None,
        unit="error ratio",
        lane=lane,
        seconds=evidence["seconds"],
        metrics=metrics,
    )


def violation(evidence: Evidence) -> str | None:
    """The message of ``evaluate`` for a failure or an error; None otherwise."""
    verdict = evaluate(evidence)
    return verdict.message if verdict.status in (Status.FAIL, Status.ERROR) else None


def _answer(evidence: Evidence) -> tuple[Status, str, float | None, dict[str, object]]:
    op = evidence["op"]
    if evidence["missing"]:
        return Status.SKIPPED, f"does not take {' or '.join(evidence['missing'])}", None, {}
    if evidence["raised"]:
        return Status.FAIL, f"{op} raised {evidence['raised']}", None, {}
    if evidence["problems"]:
        return Status.FAIL, f"{op}: {'; '.join(evidence['problems'])}", None, {}
    if not evidence["outputs"]:
        return Status.ERROR, f"{op} returned no output", None, {}
    worst = max(
        evidence["outputs"], key=lambda output: (output["error_ratio"] != output["error_ratio"], output["error_ratio"])
    )
    metrics: dict[str, object] = {
        "relative": worst["relative"],
        "baseline_error_ratio": worst["baseline_error_ratio"],
        "baseline_relative": worst["baseline_relative"],
        "output": worst["name"],
    }
    if not worst["error_ratio"] <= LIMIT:
        message = _violation(op, worst) + _poisoned(worst, evidence.get("poisoned", []))
        return Status.FAIL, message, worst["error_ratio"], metrics
    ratios = [output["relative"] / max(output["baseline_relative"], U32) for output in evidence["outputs"]]
    ratio, limit = max(ratios, key=lambda each: (each != each, each)), NORM_LIMITS[evidence["dtype"]]
    if not ratio <= limit:
        whole = next(out for out, each in zip(evidence["outputs"], ratios, strict=True) if not each <= limit)
        metrics |= {"norm_ratio": ratio, "output": whole["name"]}
        return Status.FAIL, _violation_in_norm(op, whole, ratio, limit), worst["error_ratio"], metrics
    for output in evidence["outputs"]:
        if violation_as_a_whole := _violation_as_a_whole(output):
            metrics |= {"bias": output["bias"], "output": output["name"]}
            return Status.FAIL, f"{op}: {output['name']} {violation_as_a_whole}", worst["error_ratio"], metrics
    return Status.PASS, f"{op}: error ratio {worst['error_ratio']:.3f}", worst["error_ratio"], metrics


def _poisoned(worst: Output, inputs: list[str]) -> str:
    """Which inputs may have been read out of bounds, if the worst element looks like it."""
    is_poison = not math.isfinite(worst["got"]) or abs(worst["got"]) >= min(POISONS)
    if not inputs or not is_poison or math.isnan(worst["exact"]):
        return ""
    return f"; the part of {' and '.join(inputs)} that a call may not read holds the same poison: was it read?"


def _violation(op: str, worst: Output) -> str:
    where = f"{worst['name']}{list(worst['index'])}"
    got, exact = worst["got"], worst["exact"]
    if math.isnan(exact):
        return f"{op}: {where} is {got:.6g}, must be NaN: nothing may be written there, or a NaN went in"
    if math.isfinite(exact) and not math.isfinite(got):
        return (
            f"{op}: {worst['name']}: {worst['nonfinite']} non-finite elements "
            f"(uninitialized or computed); first at {where}, expected {exact:.6g}"
        )
    # As many digits as needed to see that they differ.
    digits = next((n for n in (6, 9) if f"{got:.{n}g}" != f"{exact:.{n}g}"), 17)
    what = f"{op}: {where} is {got:.{digits}g}, exactly {exact:.{digits}g}"
    if math.isinf(exact):
        return f"{what}: only that infinity is right there"
    if not worst["allowed"]:  # a choice
        return f"{what}, {worst['error_ratio']:.3g} times as far from the best choice as rounding explains"
    error = abs(got - exact)
    what += ", the fill value of unwritten memory" if got in POISONS else ""
    return (
        f"{what}; an error of {worst['allowed']:.2g} is permitted, this is {error:.2g}, {error / worst['allowed']:.3g} "
        f"times that (error ratio {worst['error_ratio']:.3g}, without the last rounding; relative error "
        f"{worst['relative']:.2g})"
    )


def _violation_in_norm(op: str, output: Output, ratio: float, limit: float) -> str:
    return (
        f"{op}: {output['name']} as a whole is off by {output['relative']:.2g} of its norm, {ratio:.3g} times the "
        f"PyTorch baseline's {output['baseline_relative']:.2g}; at most {limit:g} times is allowed"
    )


def _violation_as_a_whole(output: Output) -> str | None:
    if not output["bias"] <= 1:
        return (
            f"is biased to one side, {output['bias']:.3g} times as far as rounding explains, though each element is "
            "within its bound: an accumulator, a norm or a scale is too narrow or wrong"
        )
    if output["narrow"]:
        return f"holds {output['narrow']} numbers alone: it was rounded to that type, and only then made wider"
    return None


def subjects(settings: Settings) -> list[str]:
    """One per case, and one per op for the large cases that the interpreter lane omits."""
    result = []
    for op in chosen_ops(settings).values():
        result += [case.id for case in op.cases if settings.lane == "gpu" or not case.large]
        result += [_large(op)] if settings.lane != "gpu" and any(case.large for case in op.cases) else []
    return result


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run each case's op, from the package under test, and evaluate its error."""
    from braidcheck.gates.accuracy.measure import measure_op
    from braidcheck.gates.under_test import wrapper

    for subject in subjects:
        op, case = _op_and_case(subject)
        if case is None:
            yield _skipped(op)
            continue
        verdict = evaluate(measure_op(op, case, settings.device, wrapper(op.name)))
        # A user's function may lack an optional argument; an op's own wrapper takes all that its cases pass.
        yield replace(verdict, status=Status.FAIL) if verdict.status == Status.SKIPPED else verdict


def _op_and_case(subject: str) -> tuple[Op, Case | None]:
    """The op and the case of a subject; no case if it stands for all large ones."""
    from braidcheck import kernels

    op = kernels.find()[subject.split("[")[0]]
    return op, next((case for case in op.cases if case.id == subject), None)


def _large(op: Op) -> str:
    return f"{op.name}[large]"


def _skipped(op: Op) -> Verdict:
    metrics = {"subjects": [case.id for case in op.cases if case.large]}
    return Verdict("accuracy", _large(op), Status.SKIPPED, "large cases need a GPU", metrics=metrics)


def _gpu_memory(subject: str) -> Callable[[], int] | None:
    op, case = _op_and_case(subject)
    return partial(_peak_bytes, op, case) if case is not None and case.large else None


def _peak_bytes(op: Op, case: Case) -> int:
    from braidcheck.numerics.calls import input_bytes

    return PEAK_PER_INPUT_BYTE * input_bytes(op, case)


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.accuracy.measure import trial_checks

    return trial_checks


GATE = Gate(
    name="accuracy",
    question="Is each kernel's error within the bound that its declared precision permits?",
    failure_page="numbers",
    subjects=subjects,
    run=run,
    per_op=True,
    runs_kernels=True,
    stand_in=ALL_OPS,
    gpu_memory=_gpu_memory,
    load_trial_checks=_trial_checks,
)
