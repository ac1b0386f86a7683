"""Which contract a function satisfies: the op's own, or one that other libraries keep."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from braidcheck.cli.candidate_run import HELD
from braidcheck.errors import UserError, in_one_line
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.evidence import Evidence
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.calls.chosen import resized, rows_axis
from braidcheck.gates.calls.observe import same_bits
from braidcheck.gates.under_test.candidate import REFUSALS
from braidcheck.isolation.process import EndedError
from braidcheck.numerics import attention
from braidcheck.numerics.attention import ScoreRule
from braidcheck.numerics.calls import copies, run
from braidcheck.numerics.contract_variants import under, variants
from braidcheck.numerics.conventions import Convention, about, name
from braidcheck.op import Case, Op
from braidcheck.result import Status

RAISES, ENDS = "raises", "ends its process:"
REFUSED = tuple(f"{kind.__name__}:" for kind in REFUSALS)  # how what is said of a refusal begins
BY_BITS: dict[tuple[str, ...], str] = {  # of casts that small cases may not show
    ("sum",): "stays within the bound on small cases, but y has the bits of the norm of the rounded sum",
    ("rope",): "stays within the bound on small cases, but has the same bits with a rounded table",
}
MANY_ROWS = 192  # more than any case that is asked in the interpreter, but for long ones
MAX_FLOPS = 2**26  # of one of them
PLAIN = ("unit", "qwen", "tail")
MAX_CASES = 10  # the smallest of each kind of call: enough to tell conventions apart


@dataclass(frozen=True)
class Fit:
    """The op whose contract is satisfied, and what is to be said of it; nothing where it is the op's own.

    ``other_op``: what it computes is not the op, so it fails, and the checks show whether it is right as that other.
    """

    op: Op
    said: str = ""
    other_op: bool = False


@dataclass(frozen=True)
class Violation:
    """What a function violates of a contract; empty where it keeps it. ``refusals`` are of cases that it refused;
    ``is_formal``: the outputs are no such outputs, whatever their numbers are."""

    said: str
    refusals: tuple[str, ...] = ()
    is_formal: bool = False


def fit(op: Op, function: Callable[..., Any], device: str, served: Callable[[Case], bool] = lambda case: True) -> Fit:
    """The first contract, the op's own and then fewest conventions first, that ``function`` keeps on small cases.

    Where it keeps none it is held to the op's own, and nothing is said.
    """
    if not about(op):
        return Fit(op)
    cases = _small(op, [case for case in op.cases if served(case)])
    own = _violation(op, cases, function, device)
    if own.said.startswith(ENDS):  # a process for each contract would take too long
        return Fit(op)
    unanswered = own.refusals or own.said.startswith(RAISES) or own.is_formal
    needed = _most_served(op, cases, function, device) if unanswered else ()
    rounded = tuple(one for one in about(op) if _shown_by_bits(one, under(op, needed), cases, function, device))
    others = (some for some, _ in variants(op) if _gives(some, needed) and not any(one in rounded for one in some))
    sets = ((*rounded, *some) for some in others)
    kept = (some for some in sets if (_keeps(under(op, some), cases, function, device) if some else not own.said))
    chosen = next(kept, None)
    if chosen is None:
        return Fit(op)
    unasked = [one for one in about(op) if one.profile]  # writing its inputs may be a mistake, so that must be declared
    waived = [one for one in unasked if _violates(one, op, chosen, function, device).said]
    chosen = tuple(one for one in about(op) if one in (*chosen, *waived))
    if not chosen:
        return Fit(op)
    without = [_without(op, one, chosen, cases, function, device) for one in chosen]
    said = f"{HELD}{name(op, chosen)}; fails the strict contract: {'; '.join(without)}"
    if other_op := any(one.other_op for one in chosen):
        said += f"; if that is meant: --contract '{','.join(one.name for one in chosen)}'"
    return Fit(under(op, chosen), said, other_op)


def require_told(op: Op, declared: tuple[Convention, ...], device: str) -> None:
    """Raise UserError where no case tells a declared window from one wider by a key, or a soft cap from none: every
    function would keep to it."""
    asked = under(op, declared)
    cases = sorted(asked.cases, key=lambda case: sum(case.axes.values()))
    for one in declared:
        if one.scores == attention.PLAIN:
            continue
        window = one.scores.window
        other = replace(one, scores=ScoreRule(window=window + 1 if window else 0))
        wrong = under(op, tuple(other if each is one else each for each in declared)).reference
        within = (case for case in cases if 0 not in case.axes.values() and not (case.large and device == "cpu"))
        if not any(accuracy.violation(measure_op(asked, case, device, wrong)) for case in within):
            told = f"a window of {window + 1}" if window else "no soft cap"
            raise UserError(f"no case of {op.name} tells {one.name} from {told}; give a smaller one to check")


def _most_served(op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> tuple[Convention, ...]:
    """The fewest conventions about inputs under which ``function`` answers most cases: a refusal counts for nothing,
    nor does an output of another dtype or shape."""
    choices = [one for one in about(op) if one.narrows]
    if not choices:
        return ()
    sets = (some for count in range(len(choices) + 1) for some in itertools.combinations(choices, count))
    return max(sets, key=lambda some: sum(_answers(under(op, some), case, function, device) for case in cases))


def _answers(op: Op, case: Case, function: Callable[..., Any], device: str) -> bool:
    try:
        evidence = measure_op(op, case, device, function)
    except (Exception, EndedError):
        return False
    return not (evidence["raised"] or evidence["problems"])


def _gives(some: tuple[Convention, ...], needed: tuple[Convention, ...]) -> bool:
    """Whether ``some`` give what is ``needed``, and no inputs that are needed by nobody who takes the op's own."""
    return all(one in some for one in needed) and all(one in needed for one in some if one.if_refused)


def _keeps(op: Op, cases: list[Case], *about: Any) -> bool:
    return not any(_violation(op, [case], *about).said for case in cases)


def _violates(one: Convention, op: Op, chosen: tuple[Convention, ...], *about: Any) -> Violation:
    """What ``function`` violates of the cases that the convention does not ask."""
    unasked = [case for case in op.cases if case.profile == one.profile and not case.large]
    return _violation(under(op, chosen), unasked, *about)


def _shown_by_bits(one: Convention, op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> bool:
    """Whether results have the bits of what is rounded by the convention: no luck of the numbers hides that."""
    tests: dict[tuple[str, ...], Callable[..., bool]] = {("sum",): _norm_of_its_sum, ("rope",): _rounds_its_table}
    try:
        return one.casts in tests and tests[one.casts](op, cases, function, device)
    except (Exception, EndedError):  # what it raises, or returns in place of tensors, is a matter of the checks
        return False


def _norm_of_its_sum(op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> bool:
    """Whether y has the bits of the norm of the sum as it is returned, rounded."""
    case = next((case for case in cases if case.needs == ("residual",) and case.dtype != "float32"), None)
    if case is None:
        return False
    inputs = op.inputs(case, device)
    y, total = function(**copies(inputs))
    return same_bits(y, function(**copies(inputs | {"x": total.clone(), "residual": None})))


def _rounds_its_table(op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> bool:
    """Whether all results have the bits of those with a table that is rounded to their dtype; of a case whose positions
    have angles that lose something by it."""
    narrow = (case for case in cases if case.dtype != "float32")
    for case in sorted(narrow, key=lambda case: case[rows_axis(case)], reverse=True):
        inputs = op.inputs(case, device)
        table = inputs["cos_sin"]
        rounded = table.to(getattr(torch, case.dtype)).to(table.dtype)
        used = inputs["positions"].long().clamp(0, len(table) - 1)
        if not torch.equal(table[used], rounded[used]):
            both = inputs, inputs | {"cos_sin": rounded}
            pairs = zip(*(run(op, function, copies(given)) for given in both), strict=True)
            return all(same_bits(one, other) for one, other in pairs)
    return False


def _without(op: Op, one: Convention, chosen: tuple[Convention, ...], cases: list[Case], *of: Any) -> str:
    """What the function violates or refuses where all of the conventions hold but ``one``."""
    rest = tuple(other for other in chosen if other != one)
    found = _violates(one, op, rest, *of) if one.profile else _violation(under(op, rest), cases, *of)
    said = found.said
    if not said and found.refusals:
        said = f"refuses {len(found.refusals)} of {len(cases)} small cases: {found.refusals[0]}"
    return f"without {one.name} {said or BY_BITS[one.casts]} ({one.used_by})"


def _violation(op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> Violation:
    """How far ``function`` is past the contract of ``op`` on these cases, and which it refuses."""
    ratio, message = 0.0, ""
    refusals: list[str] = []
    for case in cases:
        try:
            evidence = measure_op(op, case, device, function)
        except EndedError as how:
            return Violation(f"{ENDS} {how}")
        except Exception as error:  # of the comparison: a function may return anything
            return Violation(f"{RAISES} {in_one_line(error)}")
        if raised := evidence["raised"]:
            if not raised.startswith(REFUSED):
                return Violation(f"{RAISES} {raised}")
            refusals.append(raised)
        elif evidence["problems"]:
            return Violation(evidence["problems"][0], is_formal=True)
        else:
            verdict = accuracy.evaluate(evidence)
            if verdict.status == Status.FAIL:
                ratio, message = max(ratio, _ratio(evidence)), message or verdict.message
    # Each element may be right, and their mean wrong.
    return Violation(f"by {ratio:.3g}x" if ratio > 1 else message, tuple(refusals))


def _ratio(evidence: Evidence) -> float:
    """The error of the worst element over what is permitted there, the last rounding included."""
    return max(
        abs(output["got"] - output["exact"]) / output["allowed"] if output["allowed"] else output["error_ratio"]
        for output in evidence["outputs"]
    )


def _small(op: Op, cases: list[Case]) -> list[Case]:
    """The smallest case of each dtype, profile and set of arguments, in the order of size; those that round once more
    with so many rows that one cast more than permitted shows, where that is little work. Of profiles that strain no
    bound, unless a function without the op's options is asked none of these."""
    found: dict[tuple[str, str, tuple[str, ...]], Case] = {}
    size = {case.id: sum(case.axes.values()) for case in cases}
    plain = [case for case in cases if case.profile in PLAIN] or [case for case in cases if case.profile != "nan"]
    for case in sorted(plain, key=lambda case: size[case.id]):
        if not case.large and 0 not in case.axes.values():
            found.setdefault((case.dtype, case.profile, case.needs), case)
    small = list(found.values())[:MAX_CASES]
    many = [resized(case, MANY_ROWS) for case in small if case.dtype != "float32"]
    return [*small, *(case for case in many if op.cost(case).flops <= MAX_FLOPS)]
