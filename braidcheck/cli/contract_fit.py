"""Which contract a function satisfies: the op's own, or one that other libraries keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from braidcheck.cli.candidate_run import HELD
from braidcheck.errors import in_one_line
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.evidence import Evidence
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.under_test.candidate import REFUSALS
from braidcheck.isolation.process import EndedError
from braidcheck.numerics.conventions import Convention, name, variants
from braidcheck.op import Case, Op
from braidcheck.result import Status

RAISES = "raises"
REFUSED = tuple(f"{kind.__name__}:" for kind in REFUSALS)  # how what is said of a refusal begins
MAX_CASES = 8  # the smallest of each kind of call: enough to tell conventions apart


@dataclass(frozen=True)
class Fit:
    """The op whose contract is satisfied, and what is to be said of it; nothing where it is the op's own.

    ``other_op``: what it computes is not the op, so it fails, and the checks show whether it is right as that other.
    """

    op: Op
    said: str = ""
    other_op: bool = False


def fit(op: Op, function: Callable[..., Any], device: str, served: Callable[[Case], bool] = lambda case: True) -> Fit:
    """The first contract, the op's own and then fewest conventions first, that ``function`` keeps on small cases.

    Where it keeps none it is held to the op's own, and nothing is said.
    """
    cases = _small([case for case in op.cases if served(case)])
    own = _violation(op, cases, function, device)
    if not own or own.startswith(RAISES):  # by no convention does it return
        return Fit(op)
    for conventions, variant in variants(op):
        if conventions and not _violation(variant, cases, function, device):
            without = [_without(op, one, conventions, cases, function, device) for one in conventions]
            said = f"{HELD}{name(op, conventions)}; fails the strict contract: {'; '.join(without)}"
            return Fit(variant, said, any(one.other_op for one in conventions))
    return Fit(op)


def _without(op: Op, one: Convention, conventions: tuple[Convention, ...], *about: Any) -> str:
    """What the function violates where all of the conventions hold but ``one``."""
    rest = tuple(other for other in conventions if other != one)
    variant = next(variant for chosen, variant in variants(op) if chosen == rest)
    return f"without {one.name} {_violation(variant, *about)} ({one.used_by})"


def _violation(op: Op, cases: list[Case], function: Callable[..., Any], device: str) -> str:
    """How far ``function`` is past the contract of ``op`` on these cases; empty where it keeps it."""
    ratio = 0.0
    for case in cases:
        try:
            evidence = measure_op(op, case, device, function)
        except (Exception, EndedError) as error:  # what is no tensor, or a process that ended: the checks will say so
            return f"{RAISES} {in_one_line(error)}"
        if (evidence["raised"] or "").startswith(REFUSED):
            continue
        if evidence["raised"]:
            return f"{RAISES} {evidence['raised']}"
        if evidence["problems"]:
            return evidence["problems"][0]
        if accuracy.evaluate(evidence).status == Status.FAIL:
            ratio = max(ratio, _ratio(evidence))
    return f"by {ratio:.3g}x" if ratio else ""


def _ratio(evidence: Evidence) -> float:
    """The error of the worst element over what is permitted there, the last rounding included."""
    return max(
        abs(output["got"] - output["exact"]) / output["allowed"] if output["allowed"] else output["error_ratio"]
        for output in evidence["outputs"]
    )


def _small(cases: list[Case]) -> list[Case]:
    """The smallest case of each dtype and set of arguments, in the order of size."""
    found: dict[tuple[str, tuple[str, ...]], Case] = {}
    size = {case.id: sum(case.axes.values()) for case in cases}
    for case in sorted(cases, key=lambda case: size[case.id]):
        if not case.large and 0 not in case.axes.values() and case.profile in ("unit", "qwen", "tail"):
            found.setdefault((case.dtype, case.needs), case)
    return list(found.values())[:MAX_CASES]
