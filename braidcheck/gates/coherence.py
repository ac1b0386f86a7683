"""The coherence gate: is it still the same model? Evidence of `observe_coherence` in, one Verdict a check out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from braidcheck.gates import behaviour, distance
from braidcheck.gates.spread import Finding, Unjudgeable
from braidcheck.results import Status, Verdict

GATE = "coherence"
FORMAT = 1

_CHECKS = {
    check.__name__: check
    for check in (
        distance.kl,
        distance.nll,
        distance.position,
        distance.logits,
        distance.hidden,
        distance.flips,
        distance.entropy,
        behaviour.causality,
        behaviour.continuation,
        behaviour.decode,
        behaviour.recall,
        behaviour.repetition,
    )
}
CHECKS: tuple[str, ...] = tuple(_CHECKS)


def judge(evidence: Mapping[str, Any], lane: str = "") -> tuple[Verdict, ...]:
    """One Verdict for each of CHECKS, in that order; subjects read "nano: kl".

    Evidence that is absent or malformed gives an error, values that are not finite a failure, too few an
    inconclusive verdict.
    """
    model = evidence.get("model", "model")
    findings = {name: _find(check, evidence) for name, check in _CHECKS.items()}
    return tuple(Verdict(gate=GATE, subject=f"{model}: {name}", lane=lane, **vars(f)) for name, f in findings.items())


def _find(check: Callable[[Mapping[str, Any]], Finding], evidence: Mapping[str, Any]) -> Finding:
    try:
        if evidence.get("format") != FORMAT:
            raise Unjudgeable(Status.ERROR, f"evidence has format {evidence.get('format')}, this gate reads {FORMAT}")
        return check(evidence)
    except Unjudgeable as reason:
        return reason.finding
    except KeyError as name:
        return Finding(Status.ERROR, f"the evidence has no {name}: the run was not whole")
    except (TypeError, ValueError, IndexError) as problem:
        return Finding(Status.ERROR, f"the evidence cannot be read: {problem}")
